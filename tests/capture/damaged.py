"""Recordings as kills, crashes, copies and joins leave them: a sound one each, after surgery on its bytes."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import soundfile
from numpy.typing import NDArray

Audio = NDArray[np.float64]
"""Mono, 16 kHz, shape (n,), -1 to 1."""

RATE_HZ = 16_000
FLAC_BLOCK = 4_096
"""Samples in a frame, as libsndfile writes it."""


@dataclass(frozen=True)
class Damaged:
    """A file, and what there is to be heard of it."""

    name: str
    data: bytes
    copies: int = 1
    """How often the audio is in it, one after the other; the last one counts."""
    heard: float = 1.0
    """Which part of the last copy is there to be heard."""
    ends_early: bool = False
    """What is missing leaves no trace."""
    says: str = ""
    """What the reader has to say of it; empty where all is heard."""


def encoded(
    audio: Audio, form: str, subtype: str, rate_hz: int = RATE_HZ, channels: int = 1, **more: object
) -> bytes:
    """A sound file of it."""
    if rate_hz != RATE_HZ and len(audio):
        places = np.arange(round(len(audio) * rate_hz / RATE_HZ)) * RATE_HZ / rate_hz
        audio = np.interp(places, np.arange(len(audio)), audio)
    file = io.BytesIO()
    soundfile.write(
        file, np.repeat(audio[:, None], channels, axis=1), rate_hz, format=form, subtype=subtype, **more
    )
    return file.getvalue()


def with_field(data: bytes, at: int, value: int, length: int, order: str = "little") -> bytes:
    """``data`` with another number at ``at``."""
    field = value.to_bytes(length, "little" if order == "little" else "big")
    return data[:at] + field + data[at + length :]


def kinds(audio: Audio) -> list[Damaged]:
    """All kinds of damage. ``audio``: some seconds, at most a minute."""
    return [*_wav(audio), *_other_chunked(audio), *_flac(audio), *_ogg(audio), *_mpeg(audio)]


def _wav(audio: Audio) -> list[Damaged]:
    wav = encoded(audio, "WAV", "PCM_16")
    size_at = wav.index(b"data") + 4
    body = wav[size_at + 4 :]
    tail = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf61.7.100\0\0"
    zero = with_field(with_field(wav, 4, 0, 4), size_at, 0, 4)
    unknown = with_field(with_field(wav, 4, 0xFFFFFFFF, 4), size_at, 0xFFFFFFFF, 4)
    stereo = encoded(audio, "WAV", "PCM_16", 44_100, 2)
    found = [
        Damaged("wav, sound", wav),
        Damaged("wav, sizes 0", zero),
        Damaged("wav, sizes 0xFFFFFFFF", unknown),
        Damaged("wav, size modulo 2^32", with_field(wav, size_at, len(body) // 3, 4)),
        Damaged("wav, size with the header in it", with_field(wav, size_at, len(wav), 4)),
        Damaged("wav, size of some seconds ago", with_field(wav, size_at, len(body) * 4 // 5, 4)),
        Damaged("wav, sizes 0, odd number of bytes", zero + b"\x01"),
        Damaged("wav, sizes 0xFFFFFFFF, LIST at the end", unknown + tail),
        Damaged("wav, sizes 0, id3 at the end", zero + b"id3 " + struct.pack("<I", 300) + b"\x55" * 300),
        Damaged("wav, LIST at the end", wav + tail),
        Damaged("wav, ID3 tag at the end", wav + b"ID3\x04\0\0\0\0\x1f\x76" + b"\x55" * 4086),
        Damaged(
            "wav, chunk of a wrong size before data",
            _wav_with(wav, b"LIST" + struct.pack("<I", 1 << 30) + b"INFO"),
        ),
        Damaged("wav, empty data chunk before the samples", _wav_with(wav, b"data" + bytes(4))),
        Damaged("wav, odd chunk without padding", _wav_with(wav, b"note" + struct.pack("<I", 3) + b"abc")),
        Damaged("wav, joined", wav + wav, copies=2),
        Damaged("wav, sizes 0, joined", zero + zero, copies=2),
        Damaged("wav, joined with 44.1 kHz stereo", wav + stereo, copies=2),
        Damaged("wav, half of it", wav[: len(wav) // 2], heard=0.5, says="missing"),
        Damaged("wav, its header alone", wav[: size_at + 4], heard=0.0, says="missing"),
        Damaged("wav, its header and a sample", wav[: size_at + 6], heard=0.0, says="missing"),
        Damaged("wav, garbage before it", bytes(range(1, 200)) * 3 + wav),
        Damaged("wav, RIFX, size 0", _rifx(audio)),
        Damaged("bw64, sizes unknown", b"BW64" + unknown[4:]),
    ]
    for form, subtype in (
        ("WAV", "ULAW"),
        ("WAV", "ALAW"),
        ("WAV", "IMA_ADPCM"),
        ("WAV", "MS_ADPCM"),
        ("WAV", "PCM_24"),
        ("WAV", "PCM_U8"),
        ("WAV", "FLOAT"),
        ("WAVEX", "PCM_16"),
        ("WAV", "GSM610"),
    ):
        data = encoded(audio, form, subtype)
        at = data.index(b"data") + 4
        name = f"{form.lower()} {subtype.lower().replace('_', ' ')}"
        found.append(Damaged(f"{name}, size 0", with_field(data, at, 0, 4)))
        found.append(Damaged(f"{name}, size modulo 2^32", with_field(data, at, (len(data) - at) // 3, 4)))
    return found


def _wav_with(wav: bytes, chunk: bytes) -> bytes:
    at = wav.index(b"data")
    return wav[:at] + chunk + wav[at:]


def _rifx(audio: Audio) -> bytes:
    body = (audio * 32_767).astype(">i2").tobytes()
    form = struct.pack(">HHIIHH", 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    return b"RIFX\0\0\0\0WAVEfmt " + struct.pack(">I", 16) + form + b"data\0\0\0\0" + body


def _other_chunked(audio: Audio) -> list[Damaged]:
    found = []
    fields = {  # where the size stands, how long it is, and what it counts besides
        "RF64": (lambda data: data.index(b"data") + 4, 4, "little"),
        "W64": (lambda data: data.index(b"data") + 16, 8, "little"),
        "AIFF": (lambda data: data.index(b"SSND") + 4, 4, "big"),
        "AU": (lambda data: 8, 4, "big"),
        "CAF": (lambda data: data.index(b"data") + 4, 8, "big"),
    }
    for form, (place, length, order) in fields.items():
        data = encoded(audio, form, "PCM_16")
        at = place(data)
        for name, value in (
            ("size 0", 0),
            ("size unknown", (1 << 8 * length) - 1),
            ("size too small", len(data) // 3),
        ):
            wrong = with_field(data, at, value, length, order)
            if form == "AIFF":  # a recorder that is killed has not counted its frames either
                wrong = with_field(wrong, wrong.index(b"COMM") + 10, 0, 4, "big")
            found.append(Damaged(f"{form.lower()}, {name}", wrong))
        found.append(
            Damaged(f"{form.lower()}, half of it", data[: len(data) // 2], heard=0.5, says="missing")
        )
        found.append(Damaged(f"{form.lower()}, joined", data + data, copies=2))
    rf64 = encoded(audio, "RF64", "PCM_16")
    at = rf64.index(b"ds64") + 8
    found.append(Damaged("rf64, ds64 of 0", rf64[:at] + bytes(24) + rf64[at + 24 :]))
    found.append(Damaged("au alaw, size 0", with_field(encoded(audio, "AU", "ALAW"), 8, 0, 4)))
    found.append(Damaged("aifc ulaw, sizes 0", _aifc(encoded(audio, "AIFF", "ULAW"))))
    return found


def _aifc(data: bytes) -> bytes:
    data = with_field(data, data.index(b"SSND") + 4, 0, 4, "big")
    return with_field(data, data.index(b"COMM") + 10, 0, 4, "big")


def _flac(audio: Audio) -> list[Damaged]:
    flac = encoded(audio, "FLAC", "PCM_16")
    stereo = encoded(audio, "FLAC", "PCM_24", 48_000, 2)
    without = _flac_count(flac, 0)
    return [
        Damaged("flac, sound", flac),
        Damaged("flac, count 0", without),
        Damaged("flac, count too small", _flac_count(flac, len(audio) // 3)),
        Damaged("flac, joined", flac + flac, copies=2),
        Damaged("flac, count 0, joined", without + without, copies=2),
        Damaged("flac, joined with 48 kHz stereo", flac + stereo, copies=2),
        Damaged(
            "flac, ID3 tags before and after",
            b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + flac + b"TAG" + bytes(125),
        ),
        Damaged("flac, damaged at a third", _hurt(flac), says="damaged"),
        Damaged("flac, half of it", flac[: len(flac) // 2], heard=0.3, says="missing"),
    ]


def _hurt(data: bytes) -> bytes:
    """As after a bad block of the disk: zeros at a third of it."""
    at = len(data) // 3
    return data[:at] + bytes(512) + data[at + 512 :]


def _flac_count(flac: bytes, count: int) -> bytes:
    field = int.from_bytes(flac[21:26], "big") >> 36 << 36 | count
    return flac[:21] + field.to_bytes(5, "big") + flac[26:]


def _ogg(audio: Audio) -> list[Damaged]:
    vorbis = encoded(audio, "OGG", "VORBIS")
    opus = encoded(audio, "OGG", "OPUS")
    stereo = encoded(audio, "OGG", "OPUS", 48_000, 2)
    flac = ogg_flac(encoded(audio, "FLAC", "PCM_16"), 7)
    return [
        Damaged("vorbis, sound", vorbis),
        Damaged("vorbis, chained", vorbis + encoded(audio, "OGG", "VORBIS", 44_100, 2), copies=2),
        Damaged("vorbis, the same twice", vorbis + vorbis, copies=2),
        Damaged("vorbis, cut off", vorbis[:-700], heard=0.8, says="cut off"),
        Damaged("opus, chained", opus + stereo, copies=2),
        Damaged("opus, three links", opus + opus + stereo, copies=3),
        Damaged("opus, chained with vorbis", opus + vorbis, copies=2),
        Damaged(
            "opus, without its last page", _pages(opus, keep=slice(None, -1)), heard=0.8, ends_early=True
        ),
        Damaged("vorbis, damaged at a third", _hurt(vorbis), says="damaged"),
        Damaged("opus, damaged at a third", _hurt(opus), says="damaged"),
        Damaged(
            "opus, a page is missing",
            _pages(opus, keep=slice(None, 3)) + _pages(opus, keep=slice(4, None)),
            says="damaged",
        ),
        Damaged("flac in ogg, damaged at a third", _hurt(flac), says="damaged"),
        Damaged("opus, garbage before it", b"\x55" * 1000 + opus),
        Damaged("flac in ogg", flac),
        Damaged(
            "flac in ogg, chained", flac + ogg_flac(encoded(audio, "FLAC", "PCM_16", 48_000), 8), copies=2
        ),
        Damaged("flac in ogg, with vorbis", vorbis + flac, copies=2),
        Damaged("flac in ogg, count 0", ogg_flac(encoded(audio, "FLAC", "PCM_16"), 7, counted=False)),
    ]


def _pages(data: bytes, keep: slice) -> bytes:
    starts = [found.start() for found in re.finditer(rb"OggS\0[\0-\7]", data)] + [len(data)]
    return b"".join([data[a:b] for a, b in pairwise(starts)][keep])


def ogg_flac(flac: bytes, serial: int, *, counted: bool = True) -> bytes:
    """The FLAC file in Ogg, a page for each packet, as the mapping of FLAC to Ogg has it."""
    metadata, at, is_last = [], 4, False
    while not is_last:
        is_last = bool(flac[at] & 0x80)
        length = 4 + int.from_bytes(flac[at + 1 : at + 4], "big")
        metadata.append(flac[at : at + length])
        at += length
    frames = _flac_frames(flac[at:])
    total = int.from_bytes(flac[21:26], "big") & 0xF_FFFF_FFFF
    if not counted:
        metadata[0] = _flac_count(flac, 0)[4:42]
    first = b"\x7fFLAC\x01\x00" + struct.pack(">H", len(metadata) - 1) + b"fLaC" + metadata[0]
    packets = [first, *metadata[1:], *frames]
    return b"".join(
        _page(
            packet,
            serial,
            number,
            flags=2 if number == 0 else 4 if number == len(packets) - 1 else 0,
            granule=min(total, max(0, number + 1 - len(metadata)) * FLAC_BLOCK),
        )
        for number, packet in enumerate(packets)
    )


def _flac_frames(data: bytes) -> list[bytes]:
    """Split where a frame header with the next number and the right checksum stands."""
    places = [found.start() for found in re.finditer(rb"\xff\xf8", data) if _crc8(data[found.start() :][:9])]
    return [data[a:b] for a, b in zip(places, [*places[1:], len(data)], strict=True)]


def _crc8(header: bytes) -> bool:
    """Whether one of the first bytes is the checksum of those before it."""
    crc = 0
    for at, byte in enumerate(header):
        if at >= 5 and crc == byte:
            return True
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return False


def _page(packet: bytes, serial: int, number: int, flags: int, granule: int) -> bytes:
    """One Ogg page, or several where the packet is too long for one."""
    lacing = [255] * (len(packet) // 255) + [len(packet) % 255]
    pages, at = b"", 0
    for first in range(0, len(lacing), 255):
        part = lacing[first : first + 255]
        body = packet[at : at + sum(part)]
        at += len(body)
        head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, serial, number, 0, len(part)) + bytes(
            part
        )
        pages += with_field(head, 22, _ogg_crc(head + body), 4) + body
    return pages


def _ogg_crc(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7) & 0xFFFFFFFF if crc >> 31 else crc << 1
    return crc


def _mpeg(audio: Audio) -> list[Damaged]:
    vbr = encoded(audio, "MP3", "MPEG_LAYER_III", bitrate_mode="VARIABLE", compression_level=0.6)
    mp3 = encoded(audio, "MP3", "MPEG_LAYER_III")
    stereo = encoded(audio, "MP3", "MPEG_LAYER_III", 44_100, 2)
    tag = b"ID3\x03\0\0\0\0\x07\x68" + b"\xff\xfb\x90\x64" * 250
    bare, at = without_xing(vbr), _xing(vbr)
    return [
        Damaged("mp3, sound", mp3),
        Damaged("mp3, variable, without Xing", bare),
        Damaged("mp3, joined", mp3 + mp3, copies=2),
        Damaged("mp3, joined with 44.1 kHz stereo", mp3 + stereo, copies=2),
        Damaged("mp3, variable, without Xing, joined", bare + bare, copies=2),
        Damaged("mp3, ID3 tag in the middle", mp3 + tag + mp3, copies=2),
        Damaged("mp3, Xing counts too few", with_field(vbr, at + 8, 20, 4, "big")),
        Damaged("mp3, Xing counts too many", with_field(vbr, at + 8, 100_000, 4, "big")),
        Damaged("mp3, Xing counts 0", with_field(vbr, at + 8, 0, 4, "big")),
        Damaged("mp3, garbage before it", b"\x55\xaa" * 700 + mp3),
        Damaged("mp3, zeros behind it", mp3 + bytes(500)),
        Damaged("mp3, two bytes behind it", mp3 + b"\xff\xf3", says="cut off"),
        Damaged("mp3, tags around it", tag + mp3 + b"TAG" + bytes(125)),
        Damaged("mp3, damaged at a third", _hurt(mp3), says="damaged"),
        Damaged("mp3, variable, without Xing, damaged at a third", _hurt(bare), says="damaged"),
        Damaged("mp3, half of it", mp3[: len(mp3) // 2], heard=0.45, says="missing"),
        Damaged("mp3, without Xing, cut off in a frame", bare[:-7], heard=0.9, says="cut off"),
    ]


def _xing(mp3: bytes) -> int:
    return max(mp3.find(b"Xing", 0, 200), mp3.find(b"Info", 0, 200))


def without_xing(mp3: bytes) -> bytes:
    """The MP3 without the frame in which its encoder notes the length."""
    second = mp3.index(mp3[:2], _xing(mp3))
    return mp3[second:]
