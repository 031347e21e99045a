"""Whatever is wrong with a header, audio is heard to the end, at its place; what is lost is said."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from monitor.capture.byte_view import FileBytes, Span
from monitor.capture.find_links import find_links
from monitor.capture.recording import Recording
from monitor.capture.sound_reader import SoundFileReader
from monitor.capture.spool import open_recording
from monitor.errors import AudioFileError
from monitor.types import Block, EndOfStream, Gap
from tests.capture.damaged import RATE_HZ, Audio, Damaged, encoded, kinds, with_field

LENGTH_S = 6.0
TONE_S = (4.0, 5.0)
DECODER_S = 0.06
"""What an encoder adds before the audio, where no header says so that it could be left out again."""


def beeping() -> Audio:
    """A quiet room in which a tone sounds from 4 to 5 s."""
    rng = np.random.default_rng(3)
    audio = 0.003 * rng.standard_normal(round(LENGTH_S * RATE_HZ))
    begin, end = (round(edge_s * RATE_HZ) for edge_s in TONE_S)
    audio[begin:end] += 0.3 * np.sin(2 * np.pi * 1_000 * np.arange(end - begin) / RATE_HZ)
    return audio


def heard(path: Path) -> tuple[np.ndarray, float, str]:
    """All audio, silence where it is lost; how much that is in seconds; and what is said of it."""
    source = Recording(path)
    source.start()
    found, lost = [np.zeros(0, np.int16)], 0
    while not isinstance(item := source.read(1.0), EndOfStream):
        assert item is not None
        if isinstance(item, Gap):
            lost += item.length
        found.append(item.samples if isinstance(item, Block) else np.zeros(item.length, np.int16))
    fault = source.stats().fault
    source.stop(1.0)
    return np.concatenate(found), lost / RATE_HZ, fault


def beeps_s(audio: np.ndarray) -> list[float]:
    """Where tones begin."""
    hop = 160
    whole = audio[: len(audio) // hop * hop].reshape(-1, hop).astype(float)
    is_loud = np.sqrt(np.mean(whole**2, axis=1)) > 3_000
    return [float(place) * hop / RATE_HZ for place in np.flatnonzero(is_loud[1:] & ~is_loud[:-1]) + 1]


KINDS = kinds(beeping())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_all_that_is_there_is_heard_at_its_place_and_what_is_not_is_said(
    kind: Damaged, tmp_path: Path
) -> None:
    path = tmp_path / "recording"
    path.write_bytes(kind.data)
    audio, lost_s, fault = heard(path)
    copies = kind.copies if kind.heard > TONE_S[0] / LENGTH_S else kind.copies - 1
    starts_s = [TONE_S[0] + number * LENGTH_S for number in range(copies)]
    assert beeps_s(audio) == pytest.approx(starts_s, abs=DECODER_S * kind.copies)
    length_s = len(audio) / RATE_HZ
    if kind.says == "cut off" or kind.ends_early:  # nobody knows how long it was
        assert length_s >= (kind.copies - 1 + kind.heard) * LENGTH_S
    else:
        assert length_s == pytest.approx(kind.copies * LENGTH_S, abs=0.1 * kind.copies)
    assert kind.says in fault
    assert bool(fault) == bool(kind.says)
    if kind.says == "missing":
        assert lost_s == pytest.approx((1 - kind.heard) * LENGTH_S, abs=1.2)
        assert f"{lost_s:.1f} s are damaged or missing" in fault


# --- pipes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form", [("WAV", "PCM_16"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("FLAC", "PCM_16")]
)
def test_a_recording_comes_through_a_fifo(form: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "pipe.wav"
    os.mkfifo(path)
    data = encoded(beeping(), *form)
    writer = threading.Thread(target=path.write_bytes, args=(data,))
    writer.start()
    audio, _, fault = heard(path)
    writer.join()
    assert beeps_s(audio) == pytest.approx([TONE_S[0]], abs=DECODER_S)
    assert fault == ""


def test_a_pipe_without_a_name_is_one_as_well() -> None:
    reading, writing = os.pipe()
    writer = threading.Thread(target=written, args=(writing, encoded(beeping(), "WAV", "PCM_16")))
    writer.start()
    audio, _, _ = heard(Path(f"/dev/fd/{reading}"))
    writer.join()
    os.close(reading)
    assert beeps_s(audio) == [TONE_S[0]]


def written(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as pipe:
        pipe.write(data)


def test_a_fifo_that_nobody_writes_to_is_refused_after_a_time(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AudioFileError, match=r"for 0\.2 s nobody has opened it to write\. Start"):
        os.close(open_recording(tmp_path / "pipe", writer_within_s=0.2))


def test_a_pipe_that_is_closed_without_a_byte_is_empty() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(AudioFileError, match="is empty: it has 0 bytes"):
        Recording(Path(f"/dev/fd/{reading}")).start()
    os.close(reading)


def test_a_pipe_does_not_fill_the_disk() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(b"RIFF")
    with pytest.raises(AudioFileError, match=r"more than there is room to keep .* Save it as a file"):
        os.close(open_recording(Path(f"/dev/fd/{reading}"), spared_bytes=1 << 62))
    os.close(reading)


def test_in_real_time_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AudioFileError, match="in real time only raw PCM can be heard from one"):
        Recording(tmp_path / "pipe", real_time=True).start()


def test_a_device_is_no_recording() -> None:
    with pytest.raises(AudioFileError, match="/dev/zero is a device and holds no recording"):
        Recording(Path("/dev/zero")).start()


# --- beyond 4 GiB -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["wrapped", "unknown"])
def test_a_wav_beyond_4_gib_is_as_long_as_it_is(size: str, tmp_path: Path) -> None:
    """Its middle is not read here: 4 GiB take as long as some hundred other tests."""
    path = tmp_path / "night.wav"
    body = encoded(beeping(), "WAV", "PCM_16", channels=2)[44:]
    total = (1 << 32) + len(body)
    claimed = total & 0xFFFF_FFFF if size == "wrapped" else 0xFFFF_FFFF
    with path.open("wb") as file:  # a sparse file: what is never written takes no room
        file.write(with_field(encoded(np.zeros(1), "WAV", "PCM_16", channels=2)[:44], 40, claimed, 4))
        file.seek(44 + total - len(body))
        file.write(body)
    reader = SoundFileReader(path, 1)
    assert reader.duration_s == total / 4 / RATE_HZ
    reader.close()
    with path.open("rb") as file:
        (link,) = find_links(FileBytes(file.fileno()))
        assert link.samples == Span(44, 44 + total)


# --- what is said -------------------------------------------------------------------------------


def test_a_recording_that_cannot_be_decoded_behind_one_that_can_is_said_in_bytes(tmp_path: Path) -> None:
    good, bad = encoded(beeping(), "WAV", "PCM_16"), bytearray(encoded(beeping(), "WAV", "PCM_16"))
    bad[20:22] = b"\x99\x99"  # a format that nobody knows
    (tmp_path / "a.wav").write_bytes(good + bad)
    audio, _, fault = heard(tmp_path / "a.wav")
    assert beeps_s(audio) == [TONE_S[0]]
    assert fault.endswith(f"a.wav: {len(bad)} bytes of it cannot be decoded and were not heard.")


def test_a_channel_that_a_later_recording_lacks_is_its_last(tmp_path: Path) -> None:
    stereo, mono = encoded(beeping(), "FLAC", "PCM_16", channels=2), encoded(beeping(), "FLAC", "PCM_16")
    (tmp_path / "a.flac").write_bytes(stereo + mono)
    source = Recording(tmp_path / "a.flac", channel=1)
    source.start()
    lengths = [
        len(item.samples)
        for item in iter(lambda: source.read(1.0), EndOfStream.END)
        if isinstance(item, Block)
    ]
    source.stop(1.0)
    assert sum(lengths) == 2 * LENGTH_S * RATE_HZ


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.name.startswith("mp3")][:4], ids=lambda kind: kind.name
)
def test_a_folder_of_a_mac_beside_us_hides_no_mp3(
    kind: Damaged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "recording"
    path.write_bytes(kind.data)
    expected, _, _ = heard(path)
    (tmp_path / ".AppleDouble").mkdir()
    monkeypatch.chdir(tmp_path)
    audio, _, _ = heard(path)
    assert np.array_equal(audio, expected)


def test_a_recording_that_ends_within_its_tag_is_not_called_absent(tmp_path: Path) -> None:
    path = tmp_path / "night.mp3"
    path.write_bytes(b"ID3\x04\0\0\0\0\0\x22" + bytes(34) + b"\xff\xf3\x68\xc0" + bytes(52))
    with pytest.raises(AudioFileError) as caught:
        SoundFileReader(path, 0)
    assert "does not exist" not in str(caught.value)


@pytest.mark.parametrize(
    "kind",
    [kind for kind in KINDS if kind.copies > 1 and not kind.says and "count 0" not in kind.name],
    ids=lambda kind: kind.name,
)
def test_joined_recordings_are_as_long_as_all_of_them(kind: Damaged, tmp_path: Path) -> None:
    path = tmp_path / "recording"
    path.write_bytes(kind.data)
    audio, _, _ = heard(path)
    reader = SoundFileReader(path, 0)
    duration_s = reader.duration_s
    reader.close()
    assert duration_s == pytest.approx(len(audio) / RATE_HZ, abs=0.1 * kind.copies)
