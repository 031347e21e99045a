"""The whole house, live: a real PortAudio device, the real models, a real broker, one process."""

import json
import signal
from pathlib import Path

import pytest
import soundfile

from tests.broker import Received, Subscriber, mosquitto
from tests.cli.programs import Program
from tests.virtual_microphone import virtual_microphone

__all__ = ["mosquitto", "virtual_microphone"]

NURSERY = Path(__file__).parents[2] / "monitor" / "demo" / "nursery.flac"
RATE_HZ = 16_000
BASE = "cradlewatch/nursery"


@pytest.fixture
def cry(tmp_path) -> Path:
    """Crying over the noise of a room, which a null sink lacks. It begins after half a second."""
    audio, _ = soundfile.read(NURSERY, dtype="int16", start=27 * RATE_HZ // 2, stop=18 * RATE_HZ)
    path = tmp_path / "cry.wav"
    soundfile.write(path, audio, RATE_HZ)
    return path


def health(message: Received) -> dict:
    return json.loads(message.payload) if message.topic == f"{BASE}/health" else {}


@pytest.mark.broker
@pytest.mark.audio_device
def test_a_cry_in_the_room_reaches_the_hub_and_a_lost_microphone_is_reported_and_regained(
    virtual_microphone, mosquitto, cry
):
    arguments = ("run", "--mqtt-host", mosquitto.host, "--mqtt-port", str(mosquitto.port))
    arguments += ("--set", "microphone.stalled_after_s=0.8")
    environment = {**virtual_microphone.environment, "CRADLEWATCH_DEVICE__ID": "nursery"}
    with Subscriber(mosquitto.port) as hub, Program(*arguments, **environment) as program:
        # The first audio: a clip played before would lose its beginning.
        hub.wait_for(lambda seen: any(health(m).get("microphone_ok") for m in seen))

        virtual_microphone.play(cry)
        hub.wait_for(lambda seen: any(m.topic == f"{BASE}/cry" for m in seen))
        started = json.loads(hub.on(f"{BASE}/cry")[0])
        assert started["event_type"] == "started"
        assert json.loads(hub.on(f"{BASE}/crying")[-1])["state"] == "ON"

        hub.forget()
        virtual_microphone.kill()
        hub.wait_for(lambda seen: any(health(m).get("microphone_ok") is False for m in seen))
        fault = json.loads(hub.on(f"{BASE}/health")[-1])
        assert fault["state"] == "fault"
        assert fault["reasons"][0].startswith("The microphone delivers no audio: ")

        hub.forget()
        virtual_microphone.restart()
        hub.wait_for(lambda seen: any(health(m).get("microphone_ok") for m in seen))

        program.signal(signal.SIGTERM)
        assert program.ended() == 0
        assert hub.last(f"{BASE}/availability") == "offline"
