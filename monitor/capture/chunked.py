"""Uncompressed recordings and their kin: where the samples are, whatever the sizes in the header claim.

WAV (RIFF, RIFX, RF64, BW64), W64, AIFF, AU and CAF. A recorder writes the sizes last, so a kill leaves 0 or
a placeholder; 32 bits end at 4 GiB, so a night's size wraps; a file that was cut off has less than it claims.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from monitor.capture.byte_view import FileBytes, Piece, Span
from monitor.capture.links import Link

ByteOrder = Literal["little", "big"]

PLACEHOLDER_BYTES: Final = 0x7FFF_0000
"""A header that was never completed claims 2 or 4 GiB less a little: no promise at all."""
MOST_CLAIMED_BYTES: Final = 1 << 40
"""Nor is a terabyte and more."""
WRAPPED: Final = 1 << 32
"""Up to here 32 bits count."""
HEADER_BYTES: Final = 1 << 20
"""How far to look for samples after a chunk whose size is wrong."""
TAIL_BYTES: Final = 1 << 16
"""How far before the end to look for chunks after samples of unknown length."""

RIFF_IDS: Final = (b"RIFF", b"RIFX", b"RF64", b"BW64")
W64_GUID: Final = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
W64_TAIL: Final = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
"""How the GUIDs of all other chunks end."""
TAIL_IDS: Final = (
    *(b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"smpl", b"iXML", b"axml", b"chna", b"fact", b"PEAK"),
    *(b"JUNK", b"junk", b"PAD ", b"inst", b"_PMX", b"afsp", b"aXML", b"acid", b"disp", b"DISP", b"NAME"),
    *(b"AUTH", b"(c) ", b"ANNO", b"MARK", b"INST", b"COMT", b"APPL", b"umid", b"levl", b"LGWV", b"bwf "),
)
CAF_TAIL_IDS: Final = (
    b"pakt",
    b"kuki",
    b"free",
    b"info",
    b"strg",
    b"mark",
    b"regn",
    b"chan",
    b"uuid",
    b"umid",
)


@dataclass(frozen=True, slots=True)
class _Audio:
    """A chunk of samples: from ``start``, as long as ``size_field`` claims (0 when it does not know)."""

    start: int
    claimed: int
    size_field: Span
    order: ByteOrder
    adds: int = 0
    """What the size counts besides the samples."""
    is_large: bool = False
    """The size is one of 64 bits."""


def is_chunked(head: bytes) -> bool:
    """Whether a file that begins with ``head`` (12 bytes or more) is one of these."""
    return (
        (head[:4] in RIFF_IDS and head[8:12] == b"WAVE")
        or (head[:4] == b"FORM" and head[8:12] in {b"AIFF", b"AIFC"})
        or head[:4] in {b".snd", b"dns.", b"caff"}
        or head[:12] == W64_GUID[:12]
    )


def chunked_link(file: FileBytes, start: int) -> Link | None:
    """The link whose header stands at ``start``; None when its samples cannot be found."""
    head = file.at(start, 16)
    if head[:4] in RIFF_IDS:
        return _riff(file, start, "big" if head[:4] == b"RIFX" else "little")
    if head[:4] == b"FORM":
        return _aiff(file, start)
    if head[:4] == b"caff":
        return _caf(file, start)
    if head[:4] == b"riff":
        return _w64(file, start)
    return _au(file, start, "big" if head[:4] == b".snd" else "little")


def _riff(file: FileBytes, start: int, order: ByteOrder) -> Link | None:
    at = start + 12
    large = 0
    form: Span | None = None
    is_plain = file.at(start, 4) != b"BW64"  # libsndfile does not know this name
    while at + 8 <= file.size:
        name, size = file.at(at, 4), file.number(at + 4, 4, order)
        is_empty = name == b"data" and size == 0 and file.at(at + 8, 4) == b"data"
        if (name == b"data" and not is_empty) or not _is_name(name):
            break
        if name == b"ds64":
            large = file.number(at + 16, 8, "little")
        elif name == b"fmt ":
            form = Span(at, at + 8 + size)
        after = _after(file, at, size)
        is_plain = is_plain and not is_empty and not (after - at) & 1
        at = after
    if file.at(at, 4) != b"data":  # a chunk before it has a wrong size
        is_plain = False
        at = file.find(b"data", start + 36, start + HEADER_BYTES)
    if at < 0 or at + 8 > file.size:
        return None
    size = file.number(at + 4, 4, order)
    is_large = size == 0xFFFF_FFFF and large > 0
    audio = _Audio(at + 8, large if is_large else size, Span(at + 4, at + 8), order, is_large=is_large)
    link = _link(file, start, audio, order)
    return link if is_plain or form is None else _with_plain_header(link, form, audio)


def _with_plain_header(link: Link, form: Span, audio: _Audio) -> Link:
    """The shortest header there is before the same samples."""
    assert link.samples is not None
    size = min(len(link.samples), WRAPPED - 1).to_bytes(4, audio.order)
    name = b"RIFX" if audio.order == "big" else b"RIFF"
    header = (name + bytes(4) + b"WAVE", form, b"data" + size)
    return replace(link, pieces=(*header, Span(audio.start, link.stop)))


def _aiff(file: FileBytes, start: int) -> Link | None:
    at = start + 12
    frames_field: Span | None = None
    byte_order: ByteOrder = "big"
    channels = bits = 0
    while at + 8 <= file.size:
        name, size = file.at(at, 4), file.number(at + 4, 4, "big")
        if name == b"COMM":
            frames_field = Span(at + 10, at + 14)
            channels, bits = file.number(at + 8, 2, "big"), file.number(at + 14, 2, "big")
            byte_order = "little" if size >= 22 and file.at(at + 26, 4) == b"sowt" else "big"
        elif name == b"SSND":
            begin = at + 16 + file.number(at + 8, 4, "big")
            audio = _Audio(
                begin, max(0, size - (begin - at - 8)), Span(at + 4, at + 8), "big", begin - at - 8
            )
            link = _link(file, start, audio, byte_order)
            return _with_frames(link, frames_field, channels * ((bits + 7) // 8))
        elif not _is_name(name):
            break
        at = _after(file, at, size)
    return None


def _with_frames(link: Link, field: Span | None, width: int) -> Link:
    """AIFF says the length a second time, in frames."""
    if field is None or width == 0 or link.samples is None or len(link.pieces) == 1:
        return link
    frames = min(len(link.samples) // width, WRAPPED - 1).to_bytes(4, "big")
    first = link.pieces[0]
    assert isinstance(first, Span)
    if field.stop > first.stop:
        return link
    return replace(
        link, pieces=(Span(first.start, field.start), frames, Span(field.stop, first.stop), *link.pieces[1:])
    )


def _au(file: FileBytes, start: int, order: ByteOrder) -> Link | None:
    begin, claimed = start + file.number(start + 4, 4, order), file.number(start + 8, 4, order)
    if begin < start + 24:
        return None
    return _link(file, start, _Audio(begin, claimed, Span(start + 8, start + 12), order), order)


def _caf(file: FileBytes, start: int) -> Link | None:
    at = start + 8
    byte_order: ByteOrder = "big"
    while at + 12 <= file.size:
        name, size = file.at(at, 4), file.number(at + 4, 8, "big")
        if name == b"desc":
            byte_order = "little" if file.number(at + 24, 4, "big") & 2 else "big"
        elif name == b"data":  # a count of edits comes before the samples
            audio = _Audio(
                at + 16, 0 if size >> 63 else max(0, size - 4), Span(at + 4, at + 12), "big", 4, is_large=True
            )
            return _link(file, start, audio, byte_order)
        at += 12 + size
    return None


def _w64(file: FileBytes, start: int) -> Link | None:
    at = start + 40
    while at + 24 <= file.size:
        name, size = file.at(at, 16), file.number(at + 16, 8, "little")
        if name[4:] != W64_TAIL:
            return None
        if name[:4] == b"data":
            audio = _Audio(at + 24, max(0, size - 24), Span(at + 16, at + 24), "little", 24, is_large=True)
            return _link(file, start, audio, "little")
        at += max(24, (size + 7) & ~7)
    return None


def _link(file: FileBytes, start: int, audio: _Audio, byte_order: ByteOrder) -> Link:
    samples, stop = _extent(file, start, audio)
    held = len(samples)
    width = len(audio.size_field)
    is_promise = held < audio.claimed < (MOST_CLAIMED_BYTES if audio.is_large else PLACEHOLDER_BYTES)
    pieces: tuple[Piece, ...] = (Span(start, stop),)
    if held != audio.claimed and held + audio.adds < 1 << (8 * width):
        size = (held + audio.adds).to_bytes(width, audio.order)
        pieces = (Span(start, audio.size_field.start), size, Span(audio.size_field.stop, stop))
    return Link(
        start,
        stop,
        pieces,
        samples=samples,
        byte_order=byte_order.upper(),
        claimed_bytes=audio.claimed if is_promise else None,
    )


def _extent(file: FileBytes, start: int, audio: _Audio) -> tuple[Span, int]:
    """Where the samples are, and where the link ends after them."""
    end = audio.start + audio.claimed
    while end <= file.size:
        stop = _end_of_chunks(file, end, start)
        if stop is not None:
            return Span(audio.start, end), stop
        end += WRAPPED
    tail = _tail(file, start, max(audio.start, file.size - TAIL_BYTES))
    stop = _next_header(file, start, audio.start)
    samples_stop = min(stop, file.size if tail is None else tail)
    return Span(audio.start, max(audio.start, samples_stop)), stop


def _end_of_chunks(file: FileBytes, at: int, start: int) -> int | None:
    """Where chunks from ``at`` on end: with the file or before another header; None if these are none."""
    align = 8 if file.at(start, 4) == b"riff" else 2
    for first in (at, at + (start - at) % align):
        if first >= file.size:
            return file.size
        end = _chunk_chain(file, first, start)
        if end is not None:
            return end
    return None


def _chunk_chain(file: FileBytes, at: int, start: int) -> int | None:
    little = file.at(start, 4) not in {b"RIFX", b"FORM", b"caff"}
    is_large = file.at(start, 4) in {b"caff", b"riff"}
    while at < file.size:
        head = file.at(at, 16)
        if is_chunked(head) or head[:8] in {b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22"}:
            return at
        if (head[:3] == b"TAG" and at + 128 == file.size) or (head[:3] == b"ID3" and head[3:4] < b"\5"):
            return file.size
        if not _is_name(head[:4]) or len(head) < 8:
            return None
        if is_large:
            return file.size if head[:4] in CAF_TAIL_IDS or head[4:] == W64_TAIL else None
        size = int.from_bytes(head[4:8], "little" if little else "big")
        if at + 8 + size > file.size:
            return file.size if head[:4] in TAIL_IDS else None
        at += 8 + size + (size & 1)
    return file.size


def _tail(file: FileBytes, start: int, search_from: int) -> int | None:
    """Where the chunks after samples of unknown length begin; None when there are none."""
    tail = file.at(search_from, TAIL_BYTES)
    places = sorted(search_from + place for name in TAIL_IDS for place in _places(tail, name))
    for place in places:
        if _chunk_chain(file, place, start) == file.size:
            return place
    return None


def _places(data: bytes, name: bytes) -> list[int]:
    found: list[int] = []
    place = data.find(name)
    while place >= 0:
        found.append(place)
        place = data.find(name, place + 1)
    return found


def _next_header(file: FileBytes, start: int, samples_start: int) -> int:
    """Where, among samples of unknown length, another recording begins."""
    if file.at(start, 4) not in RIFF_IDS:
        return file.size
    at = file.find(b"WAVEfmt ", samples_start)
    while at >= 0:
        if at - 8 >= samples_start and is_chunked(file.at(at - 8, 12)):
            return at - 8
        at = file.find(b"WAVEfmt ", at + 1)
    return file.size


def _after(file: FileBytes, at: int, size: int) -> int:
    """The chunk after the one at ``at``; some writers leave out the byte that makes sizes even."""
    end = at + 8 + size
    return end + 1 if size & 1 and not _is_name(file.at(end, 4)) else end


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(32 <= code < 127 for code in name)
