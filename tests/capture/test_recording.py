"""Recordings of every kind become 16 kHz mono, damage becomes a gap, nonsense a clear sentence."""

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.capture.recording import Recording
from monitor.capture.source import SourceState
from monitor.errors import AudioFileError
from monitor.types import Block, EndOfStream, Gap, GapReason

RATES_HZ = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000]
FORMATS = {
    "wav": {},
    "flac": {},
    "aiff": {},
    "mp3": {},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
    "w64": {},
}


def items(recording: Recording) -> list[Block | Gap]:
    """Everything the recording delivers, checked to be one stream without holes."""
    recording.start()
    found: list[Block | Gap] = []
    while not isinstance(item := recording.read(1.0), EndOfStream):
        assert item is not None
        assert item.start == (found[-1].stop if found else 0)
        found.append(item)
    assert recording.read(1.0) is EndOfStream.END
    recording.stop(1.0)
    return found


def audio_of(recording: Recording) -> np.ndarray:
    found = items(recording)
    assert all(isinstance(item, Block) for item in found)
    return np.concatenate([np.zeros(0, np.int16), *(item.samples for item in found)])


def tone(rate_hz: int, duration_s: float = 1.0, frequency_hz: float = 440.0) -> np.ndarray:
    return 0.25 * np.sin(2 * np.pi * frequency_hz * np.arange(round(duration_s * rate_hz)) / rate_hz)


def noise(n_samples: int) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 3_000, n_samples).clip(-32_768, 32_767).astype(np.int16)


def pitch_hz(audio: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    return float(np.argmax(spectrum)) * 16_000 / len(audio)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_any_rate_and_channel_count_gives_the_chosen_voice(
    tmp_path: Path, rate_hz: int, channels: int
) -> None:
    chosen = channels - 1
    voices = [tone(rate_hz, frequency_hz=300.0 + 100 * i) for i in range(channels)]
    soundfile.write(tmp_path / "a.wav", np.stack(voices, axis=1), rate_hz)
    audio = audio_of(Recording(tmp_path / "a.wav", channel=chosen))
    assert abs(len(audio) - 16_000) <= 1
    assert abs(pitch_hz(audio) - (300 + 100 * chosen)) <= 1
    assert np.sqrt(np.mean(np.square(audio, dtype=float))) == pytest.approx(0.25 * 32_768 / 2**0.5, rel=0.02)


@pytest.mark.parametrize("extension", FORMATS)
def test_any_format_gives_the_same_tone(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, tone(16_000, 2.0), 16_000, **FORMATS[extension])
    audio = audio_of(Recording(path))
    assert abs(len(audio) - 32_000) <= 1
    assert abs(pitch_hz(audio) - 440) <= 1
    level = np.sqrt(np.mean(np.square(audio[4_000:-4_000], dtype=float)))
    assert level == pytest.approx(0.25 * 32_768 / 2**0.5, rel=0.03)


def test_a_16_khz_wav_arrives_bit_by_bit(tmp_path: Path) -> None:
    samples = noise(100_001)
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    assert np.array_equal(audio_of(Recording(tmp_path / "a.wav")), samples)


@pytest.mark.parametrize(
    ("extension", "rate_hz"), [("wav", 16_000), ("flac", 44_100), ("mp3", 48_000), ("opus", 48_000)]
)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(block_s=st.floats(0.005, 3.0))
def test_block_size_does_not_change_the_audio(
    tmp_path: Path, extension: str, rate_hz: int, block_s: float
) -> None:
    path = tmp_path / f"a.{extension}"
    if not path.exists():
        soundfile.write(path, noise(2 * rate_hz), rate_hz, **FORMATS[extension])
    assert np.array_equal(audio_of(Recording(path, block_s=block_s)), audio_of(Recording(path)))


def test_a_mono_file_has_one_voice_whatever_channel_is_configured(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(10), 16_000)
    assert len(audio_of(Recording(tmp_path / "a.wav", channel=3))) == 10


def test_a_file_of_one_sample_is_one_sample(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([1234], np.int16), 16_000)
    assert audio_of(Recording(tmp_path / "a.wav")).tolist() == [1234]


def test_a_file_without_samples_ends_at_once(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0, np.int16), 44_100)
    assert items(Recording(tmp_path / "a.wav")) == []


def test_float_samples_saturate_and_what_is_no_number_becomes_silence(tmp_path: Path) -> None:
    values = np.array([2.0, -3.0, np.nan, np.inf, -np.inf, 0.5, 3.4e38, np.nan], np.float32)
    soundfile.write(tmp_path / "a.wav", values, 16_000, subtype="FLOAT")
    recording = Recording(tmp_path / "a.wav")
    expected = [32_767, -32_768, 0, 32_767, -32_768, 16_384, 32_767, 0]
    assert audio_of(recording).tolist() == expected
    assert "2 samples without a number" in recording.stats().fault


def test_a_signalling_nan_is_silence_without_a_warning(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(3, np.float32), 16_000, subtype="FLOAT")
    whole = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(whole[:-8] + (0x7F800001).to_bytes(4, "little") + whole[-4:])
    assert audio_of(Recording(tmp_path / "a.wav")).tolist() == [0, 0, 0]


def test_a_header_of_many_channels_costs_no_more_memory_than_one_of_few(tmp_path: Path) -> None:
    audio = np.zeros((2_000, 1_000), np.int16)
    audio[:, 7] = 5
    soundfile.write(tmp_path / "a.wav", audio, 768_000)
    recording = Recording(tmp_path / "a.wav", channel=7, block_s=4.0)
    recording.start()
    tracemalloc.start()
    try:
        read = sum(len(item.samples) for item in iter(lambda: recording.read(0.0), EndOfStream.END))
        assert tracemalloc.get_traced_memory()[1] < 40_000_000  # 4 s of it would be 6 GB
    finally:
        tracemalloc.stop()
        recording.stop(0.0)
    assert abs(read - 2_000 / 48) <= 1


def test_24_bit_full_scale_stays_full_scale(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.999999, -1.0]), 16_000, subtype="PCM_24")
    assert audio_of(Recording(tmp_path / "a.wav")).tolist() == [32_767, -32_768]


@pytest.mark.parametrize("extension", ["wav", "flac", "aiff", "mp3"])
def test_a_cut_off_file_gives_what_it_holds_and_a_gap_up_to_what_it_promised(
    tmp_path: Path, extension: str
) -> None:
    whole, half = tmp_path / f"whole.{extension}", tmp_path / f"half.{extension}"
    samples = noise(160_000)
    soundfile.write(whole, samples, 16_000)
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    recording = Recording(half)
    *blocks, gap = items(recording)
    assert isinstance(gap, Gap)
    assert gap.reason is GapReason.DAMAGED
    assert gap.stop == pytest.approx(160_000, abs=20)
    assert 48_000 < gap.start < 96_000
    audio = np.concatenate([block.samples for block in blocks])
    if extension != "mp3":
        assert np.array_equal(audio, samples[: len(audio)])
    assert "damaged or missing" in recording.stats().fault
    assert recording.stats().lost_samples == gap.length


def test_audio_behind_a_damaged_place_is_found_again_at_its_place(tmp_path: Path) -> None:
    samples = noise(320_000)
    soundfile.write(tmp_path / "a.flac", samples, 16_000)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2_000] = np.random.default_rng(5).bytes(2_000)
    (tmp_path / "a.flac").write_bytes(data)
    found = items(Recording(tmp_path / "a.flac"))
    gaps = [item for item in found if isinstance(item, Gap)]
    assert len(gaps) == 1
    assert gaps[0].length < 2 * 16_000
    assert found[-1].stop == 320_000
    for block in found:
        if isinstance(block, Block):
            assert np.array_equal(block.samples, samples[block.start : block.stop])


@pytest.mark.parametrize("size", [0xFFFF_FFFF, 0x7FFF_FFFF])
def test_a_header_that_was_never_completed_promises_nothing(tmp_path: Path, size: int) -> None:
    soundfile.write(tmp_path / "a.wav", noise(16_000), 16_000)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[40:44] = struct.pack("<I", size)
    (tmp_path / "a.wav").write_bytes(data)
    recording = Recording(tmp_path / "a.wav")
    assert len(audio_of(recording)) == 16_000
    assert recording.duration_s == 1.0


def test_a_header_that_claims_weeks_is_not_believed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", noise(16_000), 16_000)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] |= 0x0F  # the 36-bit sample count of STREAMINFO
    data[22:26] = b"\xff" * 4
    (tmp_path / "a.flac").write_bytes(data)
    recording = Recording(tmp_path / "a.flac")
    assert len(audio_of(recording)) == 16_000
    assert recording.duration_s is None


def test_a_text_file_named_wav_is_refused_with_name_reason_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "shopping.wav"
    path.write_text("milk, bread, batteries\n" * 20)
    with pytest.raises(AudioFileError, match=r"shopping\.wav is not a sound file.*ffmpeg"):
        Recording(path).start()


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    with pytest.raises(AudioFileError, match="is empty"):
        Recording(tmp_path / "a.wav").start()


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="No such file"):
        Recording(tmp_path / "a.wav").start()
    with pytest.raises(AudioFileError, match="Is a directory"):
        Recording(tmp_path).start()


def test_a_channel_the_file_has_not_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((10, 2)), 16_000)
    with pytest.raises(AudioFileError, match=r"2 channels, and channel 2 .* Choose 0 to 1"):
        Recording(tmp_path / "a.wav", channel=2).start()


def test_an_absurd_sample_rate_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(10), 100)
    with pytest.raises(AudioFileError, match="a sample rate of 100 Hz is outside 2000 to 768000 Hz"):
        Recording(tmp_path / "a.wav").start()


def test_the_length_is_known_once_started(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(44_100), 44_100)
    recording = Recording(tmp_path / "a.wav")
    assert recording.duration_s is None
    recording.start()
    assert recording.duration_s == 1.0
    recording.stop(1.0)
    assert recording.read(1.0) is EndOfStream.END
    assert recording.stats().state is SourceState.ENDED


def test_real_time_delivers_a_block_when_its_last_sample_has_sounded(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(16_000), 16_000)
    now_s = 50.0

    def wait(duration_s: float) -> None:
        nonlocal now_s
        now_s += duration_s

    recording = Recording(tmp_path / "a.wav", real_time=True, block_s=0.25, clock=lambda: now_s, wait=wait)
    recording.start()
    assert recording.read(0.1) is None
    assert now_s == pytest.approx(50.1)
    stops = []
    while isinstance(recording.read(1.0), Block):
        stops.append(now_s - 50)
    assert stops == pytest.approx([0.25, 0.5, 0.75, 1.0])
