"""Ogg: pages are walked, since a file may hold several recordings (links), and damage between pages.

libsndfile decodes the first link only, and no FLAC in Ogg. Here each link becomes a file of its own, and the
FLAC within it a plain FLAC file.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from monitor.capture.byte_view import FileBytes, Piece, Span
from monitor.capture.flac import COUNT_FIELD, without_count
from monitor.capture.links import Link

CHUNK_BYTES: Final = 1 << 20
HEADER_BYTES: Final = 27
BLOCK_BYTES: Final = 4_096
"""Of a disk: so much at the end that is not a page was one."""
CODECS: Final = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC")
OPUS_RATE_HZ: Final = 48_000
"""In which Opus counts, whatever rate it was given."""
FLAC_PREFIX: Final = 9
"""Bytes of Ogg's own before the FLAC stream in its first packet."""

FLAC_HEADER_BYTES: Final = 42
CONTINUED: Final = 1
FIRST: Final = 2
CONTINUES: Final = 255
"""The size of a part of a packet of which the rest follows."""
NO_PACKET_ENDS: Final = -1
_MIRRORED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class Page:
    """A page without damage."""

    start: int
    body: int
    stop: int
    flags: int
    granule: int
    """Where in the audio the last packet that ends on the page ends; -1 when none does."""
    serial: int
    sequence: int


@dataclass(slots=True)
class _Stream:
    """Pages of one link that belong together."""

    serial: int
    codec: bytes
    pages: list[Page] = field(default_factory=list)
    others: int = 0
    """Pages of other streams among them."""


def ogg_links(file: FileBytes, start: int) -> list[Link]:
    """All links that we can read from ``start`` on."""
    streams: list[_Stream] = []
    is_heading = False
    stop = start
    for page in pages(file, start):
        if page.flags & FIRST:
            if not is_heading:
                streams.append(_Stream(-1, b""))
            is_heading = True
            _open_stream(file, streams[-1], page)
        else:
            is_heading = False
        if streams:
            _add(streams[-1], page)
        stop = page.stop
    links = [link for stream in streams if stream.codec for link in _links(file, stream)]
    if links:
        rest = file.at(stop, BLOCK_BYTES)
        is_cut_off = len(rest) > 0 and (b"OggS".startswith(rest[:4]) or len(rest) == BLOCK_BYTES)
        links[-1] = replace(links[-1], is_cut_off=is_cut_off, stop=file.size)
    return links


def _open_stream(file: FileBytes, stream: _Stream, page: Page) -> None:
    codec = next((name for name in CODECS if file.at(page.body, len(name)) == name), b"")
    if codec and not stream.codec:
        stream.serial, stream.codec = page.serial, codec


def _add(stream: _Stream, page: Page) -> None:
    if page.serial == stream.serial:
        stream.pages.append(page)
    else:
        stream.others += 1


def _links(file: FileBytes, stream: _Stream) -> list[Link]:
    """One link, or one for each stretch between damaged places."""
    n_headers = next(
        (n for n, page in enumerate(stream.pages) if page.granule not in {0, NO_PACKET_ENDS}),
        len(stream.pages),
    )
    headers, audio = stream.pages[:n_headers], stream.pages[n_headers:]
    if stream.codec == b"\x7fFLAC":
        return _flac(file, stream, headers, audio)
    stretches = _stretches(audio)
    if len(stretches) < 2:
        pieces = _joined(stream.pages, whole=not stream.others)
        return [Link(stream.pages[0].start, stream.pages[-1].stop, pieces)]
    rate_hz = _granule_rate_hz(file, stream)
    found: list[Link] = []
    before = 0
    for stretch in stretches:
        end = max(page.granule for page in stretch)
        pieces = _joined(headers, whole=False) + _joined(stretch, whole=not stream.others)
        spans_s = (end - before) / rate_hz if found else None
        found.append(Link(stretch[0].start, stretch[-1].stop, pieces, spans_s=spans_s))
        before = end
    return found


def _stretches(audio: list[Page]) -> list[list[Page]]:
    """The pages, parted where some are missing."""
    found: list[list[Page]] = []
    for page in audio:
        if found and page.sequence == found[-1][-1].sequence + 1:
            found[-1].append(page)
        else:
            found.append([page])
    # A page on which no packet ends says nothing of its place.
    return [stretch for stretch in found if any(page.granule > 0 for page in stretch)]


def _granule_rate_hz(file: FileBytes, stream: _Stream) -> int:
    if stream.codec == b"OpusHead":
        return OPUS_RATE_HZ
    return max(1, file.number(stream.pages[0].body + 12, 4, "little"))


def _joined(pages_: list[Page], *, whole: bool) -> list[Piece]:
    if whole:
        return [Span(pages_[0].start, pages_[-1].stop)]
    return [Span(page.start, page.stop) for page in pages_]


def _flac(file: FileBytes, stream: _Stream, headers: list[Page], audio: list[Page]) -> list[Link]:
    """Packets are parts of a FLAC file, so the bodies of the pages in a row are that file."""
    first = stream.pages[0]
    begin = first.body + FLAC_PREFIX
    info = file.at(begin, FLAC_HEADER_BYTES)
    count, number = without_count(info[COUNT_FIELD.start : COUNT_FIELD.stop])
    rate_hz = max(1, int.from_bytes(info[18:21], "big") >> 4)
    head: list[Piece] = [
        Span(begin, begin + COUNT_FIELD.start),
        number,
        Span(begin + COUNT_FIELD.stop, first.stop),
        *(Span(page.body, page.stop) for page in headers[1:]),
    ]
    found: list[Link] = []
    before = 0
    for stretch in _stretches(audio):
        skipped, n_packets = _whole_packets(file, stretch[0])
        began = max(before, stretch[0].granule - n_packets * int.from_bytes(info[10:12], "big"))
        bodies: list[Piece] = [Span(stretch[0].body + skipped, stretch[0].stop)]
        bodies += [Span(page.body, page.stop) for page in stretch[1:]]
        end = max(page.granule for page in stretch)
        lost_s = (began - before) / rate_hz if found else 0.0
        found.append(
            Link(stretch[0].start, stretch[-1].stop, head + bodies, claimed_frames=end - began, lost_s=lost_s)
        )
        before = end
    if not found:
        return [Link(first.start, stream.pages[-1].stop, head, claimed_frames=count)]
    if count is not None and count > before:
        found[-1] = replace(found[-1], claimed_frames=count - before + (found[-1].claimed_frames or 0))
    return found


def _whole_packets(file: FileBytes, page: Page) -> tuple[int, int]:
    """How many bytes on the page belong to a packet that began before, and how many packets are whole."""
    sizes = file.at(page.start + HEADER_BYTES, page.body - page.start - HEADER_BYTES)
    ends = [number for number, size in enumerate(sizes) if size < CONTINUES]
    if not page.flags & CONTINUED or not ends:
        return 0, len(ends)
    return sum(sizes[: ends[0] + 1]), len(ends) - 1


def pages(file: FileBytes, start: int) -> Iterator[Page]:
    """The pages from ``start`` on of which the checksum is right."""
    base, data, place = start, b"", 0
    while True:
        if len(data) - place < 1 << 17:
            base, place = base + place, 0
            data = file.at(base, CHUNK_BYTES)
        if len(data) - place < HEADER_BYTES:
            return
        page = _page(data, place, base)
        if page is not None:
            yield page
            place = page.stop - base
        else:
            found = data.find(b"OggS", place + 1)
            place = len(data) - 3 if found < 0 else found


def _page(data: bytes, at: int, base: int) -> Page | None:
    if data[at : at + 5] != b"OggS\0" or at + HEADER_BYTES > len(data):
        return None
    body = at + HEADER_BYTES + data[at + 26]
    stop = body + sum(data[at + HEADER_BYTES : body])
    if stop > len(data):
        return None
    claimed = int.from_bytes(data[at + 22 : at + 26], "little")
    if _checksum(data[at : at + 22] + bytes(4) + data[at + 26 : stop]) != claimed:
        return None
    return Page(
        base + at,
        base + body,
        base + stop,
        data[at + 5],
        int.from_bytes(data[at + 6 : at + 14], "little", signed=True),
        int.from_bytes(data[at + 14 : at + 18], "little"),
        int.from_bytes(data[at + 18 : at + 22], "little"),
    )


def _checksum(data: bytes) -> int:
    """Ogg's CRC is zlib's with bits from the other end and without the two inversions."""
    mirrored = zlib.crc32(data.translate(_MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{mirrored:032b}"[::-1], 2)
