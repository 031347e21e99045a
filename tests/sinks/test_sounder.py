"""The sounder: its tone, its process, and when it sounds."""

import datetime as dt
import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.detect.loading import load_pipeline
from monitor.detect.settings import DetectorSettings
from monitor.messages import ControlsMessage
from monitor.sinks import sounder_tone
from monitor.sinks.push import PushSink
from monitor.sinks.push_settings import ChannelSettings, PushSettings, SounderSettings
from monitor.sinks.sounder import EVERY_S, Sounder, played
from monitor.sinks.sounder_child import RefusedError, choose
from monitor.sinks.sounder_tone import ALARM_S, BEEP_S, BEEPS, GAP_S
from monitor.types import Block, EpisodeStarted, SampleIndex
from tests.sinks.messages import episode, health
from tests.sinks.push_room import HEAD, Clock
from tests.sinks.receivers import HttpReceiver, free_port
from tests.sinks.test_push import ListInbox, alert, controls
from tests.virtual_microphone import plugged_in

DEADLINE_S = 60.0


def alarm(rate_hz, tone_hz, volume):
    return np.frombuffer(sounder_tone.alarm(rate_hz, tone_hz, volume), np.int16)


def loudest_hz(audio, rate_hz):
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    return np.argmax(spectrum) * rate_hz / len(audio)


# --- the tone -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
def test_an_alarm_is_three_beeps_of_its_pitch_and_volume(rate_hz):
    audio = alarm(rate_hz, 880.0, 0.5)
    assert len(audio) == pytest.approx(ALARM_S * rate_hz, abs=6)
    assert np.abs(audio).max() == pytest.approx(0.5 * 32767, abs=1)
    for beep in range(BEEPS):
        start = beep * round(BEEP_S * rate_hz) + beep * round(GAP_S * rate_hz)
        sound = audio[start : start + round(BEEP_S * rate_hz)]
        gap = audio[start + len(sound) : start + len(sound) + round(GAP_S * rate_hz)]
        assert loudest_hz(sound, rate_hz) == pytest.approx(880, abs=3)
        assert not gap.any()
        assert abs(int(sound[0])) < 100, "no click"


NURSERY = Path(__file__).parents[2] / "monitor" / "demo" / "nursery.flac"


def starts(audio):
    pipeline = load_pipeline(DetectorSettings())
    block = Block(SampleIndex(0), np.clip(np.rint(audio), -32768, 32767).astype(np.int16))
    return [output for output in pipeline.process(block) if isinstance(output, EpisodeStarted)]


def test_our_own_alarm_raises_no_episode():
    """As the microphone hears it in a quiet room, at levels up to full scale."""
    room = np.random.default_rng(0).normal(0, 30, (4, round(EVERY_S * 16_000)))
    for quarter, volume in zip(room, (0.02, 0.1, 0.4, 1.0), strict=True):
        sound = alarm(16_000, 880.0, volume)
        quarter[: len(sound)] += sound
    assert starts(room.ravel()) == []


def test_a_cry_is_heard_while_the_alarm_sounds():
    """The second bout of the demonstration, with our alarm over its first two seconds."""
    cry, _ = soundfile.read(NURSERY, dtype="int16", start=95 * 8000, stop=64 * 16_000)
    audio = cry.astype(float)
    sound = alarm(16_000, 880.0, 0.3)
    audio[: len(sound)] += sound
    assert len(starts(audio)) == 1


# --- its process --------------------------------------------------------------------------------------


OUTPUTS = [
    {"index": 0, "name": "mic", "max_output_channels": 0},
    {"index": 1, "name": "USB Audio: - (hw:1,0)", "max_output_channels": 2},
    {"index": 2, "name": "USB Audio: - (hw:2,0)", "max_output_channels": 2},
    {"index": 3, "name": "default", "max_output_channels": 32},
]


@pytest.mark.parametrize(
    ("wanted", "index"), [(None, 3), ("default", 3), (1, 1), ("hw:2", 2), ("USB Audio: - (hw:1,0)", 1)]
)
def test_the_output_is_found_by_name_index_or_default(wanted, index):
    assert choose(OUTPUTS, 3, wanted)["index"] == index


@pytest.mark.parametrize(("wanted", "code"), [("usb", "ambiguous"), ("hdmi", "not_found"), (0, "not_found")])
def test_an_output_that_is_not_there_or_not_the_only_one_is_refused(wanted, code):
    with pytest.raises(RefusedError) as caught:
        choose(OUTPUTS, 3, wanted)
    assert caught.value.code == code


def test_what_the_process_says_becomes_a_sentence():
    settings = SounderSettings(device="hdmi")
    missing = played(json.dumps({"error": "not_found", "message": "1: 'x'"}).encode(), 3, settings)
    assert missing.fault == "there is no output device 'hdmi'. There is: 1: 'x'."
    assert "sounder.device" in missing.remedy
    none = played(json.dumps({"error": "not_found", "message": ""}).encode(), 3, SounderSettings())
    assert none.fault == "there is no default output device. There is none at all."
    assert none.remedy == "Plug a speaker in, or set sounder.device."
    report = b'{"ready": "x"}\n{"device": "default", "rate_hz": 48000}\n'
    assert played(report, 0, settings).device == "default, 48000 Hz"


@pytest.mark.parametrize("answer", [b"", b'{"ready": "default"}\n'])
def test_a_process_that_crashes_is_a_sentence_with_a_remedy(answer):
    crashed = played(answer, -signal.SIGABRT, SounderSettings())
    assert crashed.fault == "its process was ended by SIGABRT and said nothing."
    assert "crashed" in crashed.remedy


def test_a_process_that_cannot_be_started_is_a_fault_before_the_alarm(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    sounder = Sounder(SounderSettings())
    sounder.step(0.0, wanted=False)
    assert sounder.fault().startswith("sounder: its process cannot be started: No such file")
    monkeypatch.undo()
    sounder.step(29.0, wanted=False)
    assert sounder._child is None, "not at every look"
    sounder.step(30.0, wanted=False)
    assert sounder._child is not None
    sounder.close()


@pytest.mark.audio_device
def test_a_missing_speaker_is_a_fault_before_the_alarm(monkeypatch, tmp_path):
    sounder = Sounder(SounderSettings(device="no such speaker"))
    with plugged_in(monkeypatch, tmp_path):
        sounder.step(0.0, wanted=False)
        _until(lambda: sounder.step(1.0, wanted=False) or sounder.fault())
        assert "there is no output device 'no such speaker'. There is: " in sounder.fault()
        assert sounder.look().fault in sounder.fault()
        assert Sounder(SounderSettings()).look().device == "default"
    sounder.close()


def test_a_sound_system_that_crashes_is_a_fault_before_the_alarm(monkeypatch, tmp_path):
    """PortAudio aborts over an ALSA without any configuration."""
    (tmp_path / "asound.conf").write_text("")
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(tmp_path / "asound.conf"))
    sounder = Sounder(SounderSettings())
    sounder.step(0.0, wanted=False)
    _until(lambda: sounder.step(1.0, wanted=False) or sounder.fault())
    assert "was ended by SIGABRT and said nothing. The sound system crashed: " in sounder.fault()
    sounder.close()


def test_there_is_no_second_process_beside_one_that_cannot_be_killed(monkeypatch):
    """As inside of a driver that hangs, which cannot be had here."""
    with subprocess.Popen(["sleep", "60"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        kill, children = child.kill, [child]
        monkeypatch.setattr(child, "kill", lambda: None)
        monkeypatch.setattr(
            "monitor.sinks.sounder.subprocess.Popen",
            lambda *_, **__: children.pop() if children else pytest.fail("another"),
        )
        sounder = Sounder(SounderSettings())
        sounder.step(0.0, wanted=True)
        for now_s in (10.0, 12.0, 24.0, 240.0):
            sounder.step(now_s, wanted=True)
        assert "took no sound" in sounder.fault()
        kill()
        child.wait(DEADLINE_S)
        with pytest.raises(pytest.fail.Exception, match="another"):
            sounder.step(252.0, wanted=True)


@pytest.mark.audio_device
def test_the_tone_comes_out_of_the_speaker_again_and_again(tmp_path, monkeypatch):
    """Through PortAudio and ALSA into PulseAudio's null sink, recorded at its monitor."""
    raw = tmp_path / "room.raw"
    sounder = Sounder(SounderSettings(tone_hz=1000.0, volume=0.5))
    with plugged_in(monkeypatch, tmp_path, rate_hz=48_000) as speaker, recording(raw):
        waiting = ready(sounder, 0.0)
        sounder.step(600.0, wanted=True)
        assert sounder._child.process is waiting, "what waited since the start sounds"
        _until(lambda: sounder.step(601.0, wanted=True) or sounder.alarms == 1)
        assert sounder.fault() == ""
        end = raw.stat().st_size + 48_000
        _until(lambda: raw.stat().st_size > end)
        check_alarm(np.frombuffer(raw.read_bytes()[: end // 2 * 2], np.int16).astype(float))
        sounder.step(600.0 + EVERY_S - 0.1, wanted=True)
        assert not sounder._child.ordered, "it pauses, so that the baby is heard"
        ready(sounder, 600.0 + EVERY_S - 0.1, wanted=True)
        speaker.freeze()
        sounder.step(600.0 + EVERY_S, wanted=True)
        child = sounder._child.process
        sounder.step(600.0 + EVERY_S + 9.9, wanted=True)
        assert child.wait(DEADLINE_S) == -signal.SIGKILL
        assert "took no sound" in sounder.fault()
        sounder.step(600.0 + 2 * EVERY_S, wanted=True)
        child = sounder._child.process
        sounder.step(600.0 + 2 * EVERY_S, wanted=False)
        assert child.wait(DEADLINE_S) == -signal.SIGKILL, "acknowledged: silent at once"
        speaker.thaw()
        sounder.close()


@pytest.mark.audio_device
def test_the_process_that_waits_leaves_with_the_service(tmp_path, monkeypatch):
    sounder = Sounder(SounderSettings())
    with plugged_in(monkeypatch, tmp_path, rate_hz=48_000):
        child = ready(sounder, 0.0)
        child.stdin.close()
        assert child.wait(DEADLINE_S) == 0
        sounder.close()


def ready(sounder, now_s, *, wanted=False):
    """The process that waits for its order."""
    sounder.step(now_s, wanted=wanted)
    _until(lambda: sounder.step(now_s, wanted=wanted) or (sounder._child and sounder._child.ready))
    return sounder._child.process


@contextmanager
def recording(raw):
    """Record the monitor of the null sink into ``raw``, mono at 48 kHz."""
    command = ["parec", "--raw", "--format=s16le", "--rate=48000", "--channels=1", "-d", "room.monitor"]
    with raw.open("wb") as file, subprocess.Popen(command, stdout=file) as recorder:
        try:
            _until(lambda: raw.stat().st_size > 0)
            yield
        finally:
            recorder.kill()


def check_alarm(audio):
    loud = np.flatnonzero(np.abs(audio) > 1000)
    assert (loud[-1] - loud[0]) / 48_000 == pytest.approx(ALARM_S - GAP_S, abs=0.1), "all three beeps"
    first = audio[loud[0] + 2400 : loud[0] + 14_400]
    assert loudest_hz(first, 48_000) == pytest.approx(1000, abs=5)
    assert np.abs(audio).max() == pytest.approx(0.5 * 32767, rel=0.05)


def _until(condition):
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


# --- when it sounds -----------------------------------------------------------------------------------


class Speaker:
    """Stands where the sounder does, and remembers whether it was asked to sound."""

    def __init__(self) -> None:
        self.wanted = False

    def step(self, _now_s, *, wanted):
        self.wanted = wanted

    def fault(self):
        return ""

    def close(self):
        pass


class Room:
    def __init__(self, *channels, hub=None, folder: Path | None = None) -> None:
        self.clock, self.hub = Clock(), hub
        settings = PushSettings(
            "nursery", channels=channels, sounder=SounderSettings(after_s=30), fault_after_s=30.0
        )
        reached = None if hub is None else lambda: bool(self.hub)
        self.sink = PushSink(settings, inbox=ListInbox(), hub_reached=reached, now=self.clock.now)
        self.speaker = self.sink._sounder = Speaker()
        self.sink.open()
        self.sink.handle(controls())

    def sounds_after(self, for_s):
        self.clock.advance(for_s)
        self.sink.tick()
        return self.speaker.wanted

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sink.close(2.0)


def unreachable():
    return ChannelSettings("Mum", f"json://127.0.0.1:{free_port()}/x")


def dad(receiver):
    return ChannelSettings("Dad", f"json://{receiver.address}/x")


def test_a_cry_that_reaches_nobody_sounds_after_a_while_until_it_is_over():
    with Room(unreachable(), hub=False) as room:
        room.sink.handle(episode())
        assert not room.sounds_after(29)
        assert room.sounds_after(1)
        room.sink.handle(episode("ended"))
        assert not room.sounds_after(1)


def test_it_needs_neither_phones_nor_hub_in_the_configuration():
    with Room() as room:
        room.sink.handle(episode())
        assert room.sounds_after(30)


def test_a_hub_that_is_reached_is_enough():
    with Room(unreachable(), hub=True) as room:
        room.sink.handle(episode())
        assert not room.sounds_after(60)
        room.hub = False
        assert room.sounds_after(1)
        room.hub = True
        assert not room.sounds_after(1)


def test_a_phone_that_got_it_is_enough():
    with HttpReceiver() as receiver, Room(unreachable(), dad(receiver), hub=False) as room:
        room.sink.handle(episode())
        assert room.sink._ledger.wait_for(lambda: room.sink.delivery().delivered == 1, DEADLINE_S)
        assert not room.sounds_after(60)


def test_what_arrived_about_an_earlier_fault_is_not_enough():
    with Room(hub=False) as room:
        room.sink._ledger.delivered("Mum", "fault-microphone")  # an attempt that outlived its fault
        room.clock.advance(3600)
        room.sink.handle(health(microphone_ok=False))
        assert not room.sounds_after(31)
        assert room.sounds_after(30)


def test_a_muted_cry_does_not_sound_until_the_mute_ends():
    with Room(hub=False) as room:
        until = room.clock.local + dt.timedelta(minutes=15)
        room.sink.handle(ControlsMessage(**HEAD, time=room.clock.local, hold_s=8.0, muted_until=until))
        room.sink.handle(episode())
        assert not room.sounds_after(899)
        assert not room.sounds_after(1), "it was not yet due for long enough"
        assert room.sounds_after(30)


def test_an_acknowledged_cry_does_not_sound():
    with Room(hub=False) as room:
        room.sink.handle(episode())
        assert room.sounds_after(30)
        room.sink.handle(alert("acknowledged", by="command"))
        assert not room.sounds_after(1)


def test_a_lost_microphone_sounds_and_a_lost_hub_alone_does_not():
    with Room(hub=False) as room:
        for _ in range(10):
            assert not room.sounds_after(30)
        room.sink.handle(health(microphone_ok=False))
        assert not room.sounds_after(31)
        assert room.sounds_after(30)
        room.sink.handle(health())
        assert not room.sounds_after(1)
