"""Which recordings a file holds, told by what stands in it, not by its name."""

from __future__ import annotations

import re
from typing import Final

from monitor.capture.byte_view import FileBytes, Span
from monitor.capture.chunked import chunked_link, is_chunked
from monitor.capture.flac import MARKERS, flac_link
from monitor.capture.links import Link
from monitor.capture.mpeg import begins_frames, mpeg_links, tag_stop
from monitor.capture.ogg import ogg_links

GARBAGE_BYTES: Final = 1 << 20
"""How much may stand before the first recording."""

_SIGNATURE: Final = re.compile(
    rb"(?:RIFF|RF64|BW64)....WAVE|RIFX....WAVE|FORM....AIF[FC]|fLaC[\x00\x80]\x00\x00\x22|OggS\x00\x02|caff\x00\x01",
    re.DOTALL,
)


def find_links(file: FileBytes) -> list[Link]:
    """The recordings in the order of the file; one that is the whole file where we know no better."""
    found = _from(file, 0)
    return found or [Link(0, file.size, (Span(0, file.size),))]


def find_links_after_garbage(file: FileBytes) -> list[Link]:
    """The same for a file that begins with something else; empty when there is nothing to hear."""
    signature = _SIGNATURE.search(file.at(0, GARBAGE_BYTES))
    found = _from(file, signature.start()) if signature is not None else []
    return found or mpeg_links(file, 0)


def _from(file: FileBytes, start: int) -> list[Link]:
    found: list[Link] = []
    while start < file.size:
        links = _links_at(file, start)
        if not links or links[-1].stop <= start:
            break
        found += links
        start = links[-1].stop
    return found


def _links_at(file: FileBytes, start: int) -> list[Link]:
    at = tag_stop(file, start)  # an ID3 tag may stand before anything
    head = file.at(at, 16)
    if is_chunked(head):
        link = chunked_link(file, at)
        return [] if link is None else [link]
    if head[:8] in MARKERS:
        return [flac_link(file, at)]
    if head[:4] == b"OggS":
        return ogg_links(file, at)
    return mpeg_links(file, start) if begins_frames(file, at) else []
