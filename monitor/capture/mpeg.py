"""MPEG audio: a file is walked frame by frame, since no header is to be trusted with its length.

Without a Xing header the length of a file with a variable bit rate is anybody's guess, and with one it is
that of the first of two joined files. Between runs of frames are tags, which are no audio, and damage.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from monitor.capture.byte_view import FileBytes, Piece, Span
from monitor.capture.links import Link

CHUNK_BYTES: Final = 1 << 20
LONGEST_FRAME: Final = 2_881
SURE_FRAMES: Final = 4
"""Bytes that look like so many frames in a row are frames."""
SHORTEST_HEADER: Final = 192
"""libmpg123 looks for a Xing header in no frame that could not hold a whole one."""

TAG: Final = b"ID3\x03\0\0\0\0\0\x0a" + bytes(10)
"""Padding alone. After a tag, libsndfile knows MPEG at once. Without one it first asks for the resource fork
of a file without a name, and mistakes a folder .AppleDouble in the working directory for it."""

_XING: Final = re.compile(rb"Xing|Info")
_CANDIDATE: Final = re.compile(rb"\xff[\xe2-\xff]|ID3[\x02-\x04]|APETAGEX|TAG")

_RATES: Final = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_KBITS_1: Final = (
    (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
)
_KBITS_2: Final = (
    (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    *((0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),) * 2,
)


def _frame_bytes(second: int, third: int) -> int:
    """How long a frame is by the second and third byte of its header; 0 for a header that cannot be."""
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    kbit, rate = third >> 4, third >> 2 & 3
    if second < 0xE0 or version == 1 or layer == 4 or kbit in {0, 15} or rate == 3:
        return 0
    bits = 1000 * (_KBITS_1 if version == 3 else _KBITS_2)[layer - 1][kbit]
    padding = third >> 1 & 1
    rate_hz = _RATES[version][rate]
    if layer == 1:
        return 4 * (12 * bits // rate_hz + padding)
    return (72 if layer == 3 and version != 3 else 144) * bits // rate_hz + padding


_LENGTHS: Final = tuple(_frame_bytes(code >> 8, code & 0xFF) for code in range(1 << 16))


@dataclass(frozen=True, slots=True)
class _Run:
    """Frames one after the other, all of one kind and of one encoder's run."""

    start: int
    stop: int
    frames: int
    header: bytes
    junk: int
    """Bytes before it that are neither frames nor tags."""

    @property
    def rate_hz(self) -> int:
        return _RATES[_version(self.header)][self.header[2] >> 2 & 3]

    @property
    def layer(self) -> int:
        return 4 - (self.header[1] >> 1 & 3)

    @property
    def frame_samples(self) -> int:
        if self.layer == 1:
            return 384
        return 576 if self.layer == 3 and _version(self.header) != 3 else 1152

    @property
    def byte_rate(self) -> float:
        """Bytes for a second, on average."""
        return (self.stop - self.start) * self.rate_hz / (self.frames * self.frame_samples)

    @property
    def lost_s(self) -> float:
        """How long the damaged audio before it was, by its bytes."""
        return self.junk / self.byte_rate


def begins_frames(file: FileBytes, start: int) -> bool:
    """Whether MPEG frames stand at ``start``."""
    at, kind, count = start, b"", 0
    while count < SURE_FRAMES and at < file.size:
        header = file.at(at, 4)
        length = _length(header)
        if not length or (kind and _kind(header) != kind):
            return False
        at, kind, count = at + length, _kind(header), count + 1
    return count == SURE_FRAMES or (count > 0 and at == file.size)


def mpeg_links(file: FileBytes, start: int) -> list[Link]:
    """All that can be heard from ``start`` on. Damage is counted from the first frame on."""
    runs: list[_Run] = []
    while (run := _next_run(file, runs[-1].stop if runs else start)) is not None:
        runs.append(run)
    if not runs:
        return []
    first, *others = runs
    links = [_link(file, first), *(replace(_link(file, run), lost_s=run.lost_s) for run in others)]
    links = [replace(link, pieces=(TAG, *link.pieces)) for link in links]
    _move_claims(file, runs, links)
    links[-1] = _with_end(file, links[-1], runs[-1])
    return links


def _move_claims(file: FileBytes, runs: list[_Run], links: list[Link]) -> None:
    """Where damage parts what an encoder has counted, only the last part can lack the end."""
    for index, (link, after) in enumerate(pairwise(links)):
        if link.claimed_frames is not None and _Xing.read(file, runs[index + 1]) is None:
            lost = round(after.lost_s * runs[index + 1].rate_hz)
            left = link.claimed_frames - (link.held_frames or 0) - lost
            links[index] = replace(link, claimed_frames=None)
            links[index + 1] = replace(after, claimed_frames=max(left, after.held_frames or 0))


def _with_end(file: FileBytes, link: Link, run: _Run) -> Link:
    """What comes after the last frame is damaged as well, unless it is too little to be audio."""
    junk = _next_frame(file, run.stop)[1]
    if junk < LONGEST_FRAME:
        head = file.at(run.stop, 4)
        is_cut_off = junk > 0 and (_length(head) > junk or (len(head) < 4 and head[:1] == b"\xff"))
        return replace(link, is_cut_off=is_cut_off, stop=file.size)
    lost = round(junk / run.byte_rate * run.rate_hz)
    return replace(
        link, claimed_frames=max(link.claimed_frames or 0, (link.held_frames or 0) + lost), stop=file.size
    )


def _next_run(file: FileBytes, at: int) -> _Run | None:
    """As many frames of one kind as follow each other, up to the next header of an encoder."""
    start, junk = _next_frame(file, at)
    if start < 0:
        return None
    header = file.at(start, 4)
    kind = _kind(header)
    at, frames, limit = start, 0, file.size
    base, data = start, b""
    while at < limit:
        place = at - base
        if place + 4 > len(data):
            base, data, place = at, file.at(at, CHUNK_BYTES), 0
            if len(data) < 4:
                break
            limit = min(limit, _next_header(file, data, base, start, kind))
            continue
        second, third = data[place + 1], data[place + 2]
        length = _LENGTHS[second << 8 | third]
        is_same = (
            second & 0xFE == kind[0] and third & 0x0C == kind[1] and (data[place + 3] >> 6 == 3) == kind[2]
        )
        if not length or data[place] != 0xFF or not is_same or at + length > file.size:
            break
        at += length
        frames += 1
    return _Run(start, at, frames, header, junk)


def _next_header(file: FileBytes, data: bytes, base: int, start: int, kind: bytes) -> int:
    """Where, after ``start``, the first frame stands that holds no audio but the length of what follows."""
    for mark in _XING.finditer(data):
        for offset in _xing_offsets(kind):
            place = base + mark.start() - offset
            if place > start and _kind(file.at(place, 4)) == kind and begins_frames(file, place):
                return place
    return file.size


def _next_frame(file: FileBytes, at: int) -> tuple[int, int]:
    """Where the next frame stands (-1 for nowhere), and how many bytes before it are no tags."""
    junk = 0
    while at < file.size:
        after = tag_stop(file, at)
        if after > at:
            at = after
        elif begins_frames(file, at):
            return at, junk
        else:
            place = _next_candidate(file, at + 1)
            junk += place - at
            at = place
    return -1, junk


def _next_candidate(file: FileBytes, at: int) -> int:
    while at < file.size:
        data = file.at(at, CHUNK_BYTES)
        for found in _CANDIDATE.finditer(data):
            place = at + found.start()
            if begins_frames(file, place) if data[found.start()] == 0xFF else tag_stop(file, place) > place:
                return place
        if len(data) < CHUNK_BYTES:
            break
        at += len(data) - 16
    return file.size


def tag_stop(file: FileBytes, at: int) -> int:
    """Where a tag that stands at ``at`` ends; ``at`` itself when there is none."""
    head = file.at(at, 32)
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 0x80:
        return min(file.size, at + 10 + syncsafe(head[6:10]))
    if head[:8] == b"APETAGEX" and len(head) == 32:
        is_header = head[23] & 0x20
        return min(file.size, at + 32 + (int.from_bytes(head[12:16], "little") if is_header else 0))
    if head[:3] == b"TAG":
        after = at + 128
        if after == file.size or file.at(after, 3) == b"ID3" or begins_frames(file, after):
            return after
    return at


def syncsafe(field: bytes) -> int:
    """A number of which each byte holds 7 bits."""
    return field[0] << 21 | field[1] << 14 | field[2] << 7 | field[3]


def _link(file: FileBytes, run: _Run) -> Link:
    whole = Link(
        run.start, run.stop, (Span(run.start, run.stop),), held_frames=run.frames * run.frame_samples
    )
    if run.layer != 3:
        return whole
    xing = _Xing.read(file, run)
    if xing is None:
        return replace(whole, pieces=(_length_header(run), Span(run.start, run.stop)))
    frames = run.frames - 1
    pieces: list[Piece] = [Span(run.start, run.stop)]
    if xing.frames not in {frames, frames + 1} or xing.size not in {0, run.stop - run.start}:
        fixed = xing.corrected(frames, run.stop - run.start)
        pieces = [fixed, Span(run.start + len(fixed), run.stop)]
    is_missing = xing.frames > frames and xing.size > run.stop - run.start + LONGEST_FRAME
    claimed = xing.frames * run.frame_samples - xing.trimmed if is_missing else None
    return replace(whole, pieces=pieces, claimed_frames=claimed, held_frames=frames * run.frame_samples)


@dataclass(frozen=True, slots=True)
class _Xing:
    """The header in which an encoder notes the length; 0 where it does not."""

    data: bytes
    offset: int
    frames: int
    size: int
    trims_at: int
    """Where two numbers of 12 bits stand, the samples added before and after the audio; 0 for nowhere."""

    @property
    def trimmed(self) -> int:
        """Samples that a decoder leaves out again."""
        trims = int.from_bytes(self.data[self.trims_at : self.trims_at + 3], "big") if self.trims_at else 0
        return (trims >> 12) + (trims & 0xFFF)

    @classmethod
    def read(cls, file: FileBytes, run: _Run) -> _Xing | None:
        data = file.at(run.start, min(_length(run.header), run.stop - run.start))
        for offset in _xing_offsets(_kind(run.header)):
            if not _XING.match(data, offset) or offset + 16 > len(data):
                continue
            flags, at = data[offset + 7], offset + 8
            frames = int.from_bytes(data[at : at + 4], "big") if flags & 1 else 0
            at += 4 * (flags & 1)
            n_bytes = int.from_bytes(data[at : at + 4], "big") if flags & 2 else 0
            at += 2 * (flags & 2) + 25 * (flags & 4) + (flags & 8) // 2 + 21
            return cls(data, offset, frames, n_bytes, at if at + 3 <= len(data) else 0)
        return None

    def corrected(self, frames: int, n_bytes: int) -> bytes:
        """The frame with the numbers that are true."""
        data, at = bytearray(self.data), self.offset + 8
        for bit, value in ((1, frames), (2, n_bytes)):
            if data[self.offset + 7] & bit:
                data[at : at + 4] = min(value, 0xFFFF_FFFF).to_bytes(4, "big")
                at += 4
        if (
            self.trims_at and self.frames > frames + 1
        ):  # the end, with what was added there, is not in this run
            data[self.trims_at + 1] &= 0xF0
            data[self.trims_at + 2] = 0
        return bytes(data)


def _length_header(run: _Run) -> bytes:
    """A frame without audio that says how many follow."""
    header = bytearray(run.header)
    header[1] |= 1  # no checksum
    for kbit in range(1, 15):
        header[2] = kbit << 4 | header[2] & 0x0C
        if _length(header) >= SHORTEST_HEADER:
            break
    offset = _xing_offsets(_kind(header))[0]
    note = b"Info" + (1).to_bytes(4, "big") + run.frames.to_bytes(4, "big")
    return (bytes(header) + bytes(offset - 4) + note).ljust(_length(header), b"\0")


def _length(header: bytes | bytearray) -> int:
    if len(header) < 4 or header[0] != 0xFF:
        return 0
    return _LENGTHS[header[1] << 8 | header[2]]


def _kind(header: bytes | bytearray) -> bytes:
    """Version, layer, rate, and whether it is mono: what stays the same within a run."""
    return bytes((header[1] & 0xFE, header[2] & 0x0C, header[3] >> 6 == 3)) if len(header) == 4 else b""


def _version(header: bytes) -> int:
    return header[1] >> 3 & 3


def _xing_offsets(kind: bytes) -> tuple[int, int]:
    """Where in a frame a Xing header stands, without and with a checksum."""
    is_first, is_mono = kind[0] >> 3 & 3 == 3, kind[2]
    side = (17 if is_mono else 32) if is_first else (9 if is_mono else 17)
    return 4 + side, 6 + side
