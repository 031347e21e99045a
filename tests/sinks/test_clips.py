"""Clips with real encoders, real files and a real detector: what is kept is what was heard."""

import contextlib
import io
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.capture.recording import Recording
from monitor.detect.loading import load_pipeline
from monitor.detect.settings import DetectorSettings
from monitor.events.assembler import MessageAssembler
from monitor.events.clock import StreamClock
from monitor.messages import EpisodeMessage
from monitor.sinks.clip_file import Clip, Silence, encoded
from monitor.sinks.clip_recorder import ClipRecorder
from monitor.sinks.clip_shelf import RETRY_DISK_S, WAITING, ClipShelf, kept_clips
from monitor.sinks.clips import PRUNE_EVERY_S, ClipSettings, ClipSink
from monitor.sinks.moment import Moment
from monitor.sinks.steady import TRUSTED_AFTER_S
from monitor.types import (
    Block,
    EndOfStream,
    EpisodeEnded,
    EpisodeStarted,
    Gap,
    GapReason,
    SampleIndex,
    samples,
)
from tests.broker import DEADLINE_S, wait_until
from tests.patience import shared
from tests.sinks.night_messages import EVENING, cry

ROOT = Path(__file__).parents[2]
NURSERY = ROOT / "monitor" / "demo" / "nursery.flac"
RATE_HZ = 16_000
FRAME = 480


class Room:
    """A stream of noise in which no two samples are told apart by chance, and a sink behind it."""

    def __init__(self, folder, **settings):
        self.utc_s = EVENING.timestamp()
        self.since_boot_s = 50_000.0
        self.recorder = ClipRecorder()
        self.settings = ClipSettings(folder, **settings)
        self.sink = ClipSink(self.settings, self.recorder, now=self.now, within_s=DEADLINE_S)
        self.sink.open()
        self.sink.tick()
        self.audio = np.random.default_rng(3).integers(-20_000, 20_000, 200 * RATE_HZ, dtype=np.int16)
        self.position = 0

    def now(self):
        return Moment(self.utc_s, "boot", self.since_boot_s)

    def passes(self, seconds):
        self.utc_s += seconds
        self.since_boot_s += seconds

    def hears(self, seconds):
        stop = self.position + samples(seconds)
        while self.position < stop:
            end = min(stop, self.position + FRAME)
            self.recorder.on_block(Block(SampleIndex(self.position), self.audio[self.position : end]))
            self.position = end

    def loses(self, seconds, reason=GapReason.DEVICE_LOST):
        self.recorder.on_block(Gap(SampleIndex(self.position), samples(seconds), reason))
        self.position += samples(seconds)

    def cries(self, name="e1", since_s=1.5, onset_at_s=0.0):
        onset = self.position - samples(since_s)
        message = cry("started", onset_at_s, onset_at_s + 2, episode_id=name)
        output = EpisodeStarted(1, SampleIndex(onset), SampleIndex(self.position), 0.9, -30.0)
        self.recorder.on_episode(output, message)
        return onset

    def calms(self, name="e1"):
        at = SampleIndex(self.position)
        output = EpisodeEnded(1, at, at, at, at, 0.9, -30.0, 1.0, None, False)
        self.recorder.on_episode(output, cry("ended", 0, 10, episode_id=name))

    def clips(self):
        self.sink.tick()
        return kept_clips(self.settings.folder)


def decoded(path):
    with soundfile.SoundFile(path) as file:
        return file.read(dtype="int16"), file.comment


def test_a_clip_is_the_audio_of_its_episode_to_the_sample(tmp_path):
    room = Room(tmp_path, pre_roll_s=10)
    room.hears(60)
    onset = room.cries("some-episode")
    room.hears(20)
    room.calms("some-episode")
    room.hears(5)
    (clip,) = room.clips()
    assert clip.episode_id == "some-episode"
    assert clip.path.name == "20261122T200000Z-some-episode.flac"
    audio, comment = decoded(clip.path)
    start, stop = onset - samples(10), samples(80)
    np.testing.assert_array_equal(audio, room.audio[start:stop])
    assert comment == "Crying begins at 10.00 s."


def test_a_shelf_that_was_closed_is_opened_again_and_keeps_clips(tmp_path):
    room = Room(tmp_path)
    for name in ("first", "second"):
        room.hears(20)
        room.cries(name, onset_at_s=room.position / RATE_HZ)
        room.hears(3)
        room.calms(name)
        room.hears(5)
        assert name in [clip.episode_id for clip in room.clips()]
        room.sink.close(DEADLINE_S)
        room.sink.open()
    room.sink.close(DEADLINE_S)


def test_opus_sounds_the_same_and_is_smaller(tmp_path):
    room = Room(tmp_path, format="opus", pre_roll_s=2)
    t = np.arange(200 * RATE_HZ) / RATE_HZ
    room.audio = (8000 * np.sin(2 * np.pi * 440 * t)).astype(np.int16)
    room.hears(5)
    onset = room.cries()
    room.hears(3)
    room.calms()
    (clip,) = room.clips()
    audio, _ = decoded(clip.path)
    source = room.audio[onset - samples(2) : samples(8)]
    assert abs(len(audio) - len(source)) <= 960
    length = min(len(audio), len(source))
    heard, said = audio[RATE_HZ : length - RATE_HZ], source[RATE_HZ : length - RATE_HZ]
    assert np.std(heard) == pytest.approx(np.std(said), rel=0.1)
    spectrum = np.abs(np.fft.rfft(heard))
    assert np.argmax(spectrum) * RATE_HZ / len(heard) == pytest.approx(440, abs=2)
    assert clip.size < 2 * len(source) / 5


def test_lost_audio_is_silence_and_the_comment_says_where_and_why(tmp_path):
    room = Room(tmp_path, pre_roll_s=5)
    room.hears(30)
    onset = room.cries(since_s=2)
    room.hears(3)
    room.loses(1.5)
    room.hears(4)
    room.loses(60, GapReason.OVERRUN)
    room.hears(1)
    room.calms()
    (clip,) = room.clips()
    audio, comment = decoded(clip.path)
    begin = onset - samples(5)
    np.testing.assert_array_equal(audio[: samples(10)], room.audio[begin : samples(33)])
    assert not audio[samples(10) : samples(11.5)].any()
    np.testing.assert_array_equal(
        audio[samples(11.5) : samples(15.5)], room.audio[samples(34.5) : samples(38.5)]
    )
    assert not audio[samples(15.5) : samples(20.5)].any()
    np.testing.assert_array_equal(audio[samples(20.5) :], room.audio[samples(98.5) : samples(99.5)])
    assert comment == (
        "Crying begins at 5.00 s. No audio from 10.00 s to 11.50 s (device_lost). "
        "No audio from 15.50 s to 20.50 s (overrun, 60.0 s in all)."
    )


def test_a_long_episode_gives_a_clip_of_the_longest_length_and_no_second(tmp_path):
    room = Room(tmp_path, pre_roll_s=5, max_s=20)
    room.hears(30)
    onset = room.cries()
    room.hears(50)
    (clip,) = room.clips()
    audio, _ = decoded(clip.path)
    np.testing.assert_array_equal(audio, room.audio[onset - samples(5) :][: samples(20)])
    room.hears(10)
    room.calms()
    assert len(room.clips()) == 1


def test_an_episode_at_the_very_begin_has_what_there_is(tmp_path):
    room = Room(tmp_path)
    room.hears(3)
    onset = room.cries(since_s=1)
    room.hears(1)
    room.calms()
    (clip,) = room.clips()
    audio, comment = decoded(clip.path)
    np.testing.assert_array_equal(audio, room.audio[: samples(4)])
    assert comment == f"Crying begins at {onset / RATE_HZ:.2f} s."


def test_what_is_open_at_the_stop_is_kept(tmp_path):
    room = Room(tmp_path)
    room.hears(20)
    room.cries()
    room.hears(5)
    room.sink.close(5.0)
    assert len(kept_clips(room.settings.folder)) == 1


def test_only_the_owner_may_hear_it(tmp_path):
    room = Room(tmp_path)
    room.hears(5)
    room.cries()
    room.hears(1)
    room.calms()
    (clip,) = room.clips()
    assert stat.S_IMODE(clip.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(clip.path.parent.stat().st_mode) == 0o700


def test_clips_stay_within_their_size_and_the_newest_are_kept(tmp_path):
    room = Room(tmp_path, pre_roll_s=0, max_mb=1, max_s=20)
    for number in range(6):
        room.hears(2)
        room.cries(f"e{number}", since_s=0, onset_at_s=60 * number)
        room.hears(12)
        room.calms(f"e{number}")
        clips = room.clips()
        assert sum(clip.size for clip in clips) <= 1_000_000
    assert [clip.episode_id for clip in clips] == ["e4", "e5"]
    assert room.sink.fault() == ""


def test_a_clip_too_old_is_deleted_once_the_clock_is_to_be_trusted(tmp_path):
    room = Room(tmp_path, keep_days=7)
    room.hears(5)
    room.cries()
    room.hears(1)
    room.calms()
    assert len(room.clips()) == 1
    room.utc_s += 30 * 86_400  # a jump, and nothing else
    room.passes(PRUNE_EVERY_S)
    assert len(room.clips()) == 1
    room.passes(TRUSTED_AFTER_S)
    assert room.clips() == []


@contextlib.contextmanager
def a_full_disk():
    """No file grows beyond a page (errno EFBIG)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_said_and_the_newest_clips_wait_for_room(tmp_path):
    room = Room(tmp_path)
    with a_full_disk():
        for number in range(4):
            room.hears(2)
            room.cries(f"e{number}", onset_at_s=60 * number)
            room.hears(1)
            room.calms(f"e{number}")
            assert room.clips() == []
        assert "cannot be kept" in room.sink.fault()
        assert "Lost: 2 clips" in room.sink.fault()
        assert list(room.settings.folder.iterdir()) == [], "no part of a file is left"
    room.passes(RETRY_DISK_S)
    assert [clip.episode_id for clip in room.clips()] == ["e2", "e3"]
    assert room.sink.fault() == ""


def test_a_disk_that_hangs_holds_up_neither_the_cutting_nor_the_stop_and_bounds_what_waits(tmp_path):
    fifo = tmp_path / "clips" / "fifo"
    fifo.parent.mkdir()
    os.mkfifo(fifo)

    class Hanging(ClipShelf):
        def _write(self):
            fifo.read_bytes()  # waits until somebody writes
            super()._write()

    shelf = Hanging(fifo.parent, keep_days=7, max_bytes=10**9, now=lambda: Moment(0.0, "boot", 1.0))
    shelf.start()
    began_s = time.monotonic()
    for number in range(10):
        shelf.put(f"20261122T20000{number}Z-e{number}.flac", bytes(1000))
    assert time.monotonic() - began_s < shared(3), "ten clips, one wait"
    wait_until(lambda: "the disk does not answer" in shelf.fault(), "it is told")
    assert f"Lost: {10 - WAITING} clips" in shelf.fault()
    fifo.write_bytes(b"go on")
    wait_until(lambda: len(kept_clips(fifo.parent)) == WAITING, "the newest are written")
    assert [clip.episode_id for clip in kept_clips(fifo.parent)] == ["e8", "e9"]
    shelf.put("20261122T200020Z-last.flac", b"x")
    began_s = time.monotonic()
    shelf.close(0.2)
    assert time.monotonic() - began_s < 5
    fifo.write_bytes(b"end")


def test_a_folder_that_cannot_be_made_is_a_fault_and_no_error(tmp_path):
    (tmp_path / "clips").write_text("in the way")
    room = Room(tmp_path)
    assert "cannot be kept" in room.sink.fault()
    room.hears(3)
    room.cries()
    room.calms()
    room.sink.tick()
    assert "cannot be kept" in room.sink.fault()


def test_the_detector_does_not_wait_and_memory_is_bounded_while_nobody_takes_the_audio():
    recorder = ClipRecorder(behind_s=10)
    block = np.zeros(FRAME, np.int16)
    slowest = 0.0
    for number in range(5000):  # 150 s
        begin = time.perf_counter()
        recorder.on_block(Block(SampleIndex(number * FRAME), block))
        slowest = max(slowest, time.perf_counter() - begin)
    taken = recorder.take()
    assert sum(len(item.samples) for item in taken) <= samples(10)
    assert taken[-1].start == 4999 * FRAME, "the newest are kept"
    assert recorder.dropped_s == pytest.approx(140, abs=0.1)
    assert slowest < 0.5  # a busy machine, but no disk


def test_audio_that_was_dropped_shows_as_a_hole(tmp_path):
    room = Room(tmp_path, pre_roll_s=1)
    room.recorder._most = samples(10)
    room.hears(5)
    room.cries()
    room.hears(2)
    room.sink.tick()
    room.hears(14)  # and the disk stands still meanwhile
    room.calms()
    (clip,) = room.clips()
    audio, comment = decoded(clip.path)
    assert "(not recorded" in comment
    np.testing.assert_array_equal(
        audio[-samples(9) :], room.audio[room.position - samples(9) : room.position]
    )


def test_hearing_and_keeping_go_on_together_without_losing_a_sample(tmp_path):
    room = Room(tmp_path, pre_roll_s=1, max_s=150)
    room.hears(4)
    onset = room.cries()
    done = threading.Event()

    def keep():
        while not done.is_set():
            room.sink.tick()

    keeper = threading.Thread(target=keep)
    keeper.start()
    room.hears(55)
    room.calms()
    done.set()
    keeper.join()
    (clip,) = room.clips()
    audio, comment = decoded(clip.path)
    np.testing.assert_array_equal(audio, room.audio[onset - samples(1) : samples(59)])
    assert "No audio" not in comment


_KILLED = """
import os, signal, sys
from pathlib import Path
import monitor.files
from monitor.files import write_bytes_atomically
folder = Path(sys.argv[1])
write_bytes_atomically(folder / "20261122T200000Z-whole.flac", b"x" * 100_000)
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
write_bytes_atomically(folder / "20261122T210000Z-part.flac", b"x" * 100_000)
"""


def test_a_kill_leaves_no_part_of_a_clip_and_the_next_start_clears_up(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    child = subprocess.run(
        [sys.executable, "-c", _KILLED, str(folder)], cwd=ROOT, env=os.environ, check=False
    )
    assert child.returncode == -signal.SIGKILL
    assert len(list(folder.iterdir())) == 2
    room = Room(tmp_path)
    assert [file.name for file in folder.iterdir()] == ["20261122T200000Z-whole.flac"]
    assert [clip.episode_id for clip in room.clips()] == ["whole"]


@pytest.mark.parametrize("form", ["flac", "opus"])
def test_silence_in_a_clip_is_exact(form):
    part = np.full(1600, 1000, np.int16)
    content = encoded(Clip("e", 0, [part, Silence(1600, "x"), part]), form)
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        assert file.samplerate == RATE_HZ
        assert abs(file.frames - 4800) <= (0 if form == "flac" else 960)
        assert file.title == "Episode e"


def test_a_real_cry_found_by_the_real_detector_is_kept_with_its_pre_roll(tmp_path):
    recorder = ClipRecorder()
    sink = ClipSink(ClipSettings(tmp_path, pre_roll_s=10), recorder, within_s=DEADLINE_S)
    heard, _ = soundfile.read(NURSERY, dtype="int16", start=36 * RATE_HZ, stop=60 * RATE_HZ)
    soundfile.write(tmp_path / "heard.wav", heard, RATE_HZ)
    sink.open()
    pipeline = load_pipeline(DetectorSettings(model_form="int8"), None)
    clock = StreamClock()
    assembler = MessageAssembler("nursery", clock)
    begin = datetime(2026, 11, 22, 20, tzinfo=UTC)
    source = Recording(tmp_path / "heard.wav", channel=0, real_time=False)
    source.start()
    started: list[tuple[EpisodeMessage, int]] = []

    def publish(outputs):
        for output in outputs:
            message = assembler.assemble(output)
            if isinstance(message, EpisodeMessage):
                recorder.on_episode(output, message)
                if isinstance(output, EpisodeStarted):
                    started.append((message, output.onset))

    while not isinstance(item := source.read(1.0), EndOfStream):
        if item is None:
            continue
        clock.observe(item.stop, begin + timedelta(seconds=item.stop / RATE_HZ))
        recorder.on_block(item)
        publish(pipeline.process(item))
        sink.tick()
    publish(pipeline.flush())
    sink.close(5.0)
    source.stop(1.0)
    clips = kept_clips(tmp_path / "clips")
    assert [clip.episode_id for clip in clips] == [message.episode_id for message, _ in started]
    assert clips
    for clip, (_, onset) in zip(clips, started, strict=True):
        audio, _ = decoded(clip.path)
        first = max(0, onset - samples(10))
        np.testing.assert_array_equal(audio, heard[first : first + len(audio)])
        assert len(audio) > samples(10)
