"""Each line of `cradlewatch check`, well and broken."""

import socket
import threading

import numpy as np
import pytest
import soundfile

from monitor.cli import main
from monitor.cli.check import levels_dbfs
from monitor.config import Config
from monitor.service.app import configured_sinks
from monitor.service.requests import RequestBox
from monitor.service.state_folder import open_state_folder
from tests.access import out_of_reach
from tests.broker import Mosquitto, free_port, wait_until

RATE_HZ = 16_000


@pytest.fixture
def check(tmp_path, capsys):
    """Run the command on audio; the lines by their name."""

    def run(audio: np.ndarray, *settings: str, only: str = "") -> tuple[int, dict[str, list[str]]]:
        path = tmp_path / "microphone.wav"
        soundfile.write(path, audio.astype(np.int16), RATE_HZ, subtype="PCM_16")
        flags = [f"source.file={path}", "source.kind=file", "source.realtime=false", *settings]
        chosen = ["--only", only] if only else []
        code = main(["check", *chosen, *(word for flag in flags for word in ("--set", flag))])
        lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
        return code, {name: [mark, text] for mark, name, text in lines}

    return run


def room(duration_s: float = 3.0) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 327.68, round(duration_s * RATE_HZ))


def test_levels_of_known_signals():
    square = np.tile(np.array([32767, -32768], np.int16), 8000)
    assert levels_dbfs(square) == pytest.approx((0.0, 0.0), abs=0.001)
    sine = (16384 * np.sin(np.arange(16_000) * 0.1)).astype(np.int16)
    assert levels_dbfs(sine) == pytest.approx((-9.03, -6.02), abs=0.02)
    assert levels_dbfs(np.zeros(10, np.int16)) == (-100.0, -100.0)


def test_a_room_a_pair_of_models_and_no_broker_is_all_right(check):
    code, lines = check(room())
    assert code == 0
    assert lines["microphone"][0] == "OK"
    assert "RMS -40.0 dBFS" in lines["microphone"][1]
    assert lines["models"][0] == "OK"
    assert lines["broker"] == ["--", "not configured: set mqtt.host to report to a broker"]


@pytest.mark.parametrize(
    ("audio", "words"),
    [
        (np.zeros(3 * RATE_HZ), "digital silence"),
        (np.full(3 * RATE_HZ, -5), "one constant value"),
        (np.clip(100 * room(), -32768, 32767), "clips"),
    ],
    ids=["silence", "stuck", "clipping"],
)
def test_a_microphone_that_is_not_all_right_fails_with_a_remedy(check, audio, words):
    code, lines = check(audio)
    assert code == 1
    assert lines["microphone"][0] == "FAIL"
    assert words in lines["microphone"][1]


def test_missing_models_fail_and_the_other_lines_still_come(check, tmp_path):
    code, lines = check(room(), f"detect.artifacts={tmp_path}")
    assert code == 1
    assert [lines[name][0] for name in ("microphone", "models", "broker")] == ["OK", "FAIL", "--"]


def test_only_what_was_asked_for_is_tested(check):
    code, lines = check(
        np.zeros(3 * RATE_HZ), "mqtt.host=127.0.0.1", f"mqtt.port={free_port()}", only="models"
    )
    assert code == 0
    assert list(lines) == ["models"]


def test_push_channels_are_read_and_nobody_is_alarmed(check, tmp_path):
    file = tmp_path / "channels.toml"
    file.write_text(f'[[channel]]\nname = "Mum"\nurl = "json://127.0.0.1:{free_port()}/x"\n')
    code, lines = check(room(), f"push.channels_file={file}")
    assert (code, lines["push"][0]) == (0, "OK")
    assert lines["push"][1].startswith("Mum: usable")
    file.write_text('[[channel]]\nname = "Mum"\nurl = "nonsense://secret/x"\n')
    code, lines = check(room(), f"push.channels_file={file}")
    assert (code, lines["push"][0]) == (1, "FAIL")
    assert "secret" not in lines["push"][1]


@pytest.mark.broker
def test_a_broker_that_answers_is_all_right(check, mosquitto):
    code, lines = check(room(), f"mqtt.host={mosquitto.host}", f"mqtt.port={mosquitto.port}")
    assert code == 0
    assert lines["broker"][0] == "OK"
    assert "MQTT 5" in lines["broker"][1]


def test_a_broker_that_is_not_there_fails(check):
    code, lines = check(room(), "mqtt.host=127.0.0.1", f"mqtt.port={free_port()}")
    assert code == 1
    assert lines["broker"][0] == "FAIL"


@pytest.mark.broker
def test_a_broker_that_forbids_us_to_publish_fails(check, tmp_path, monkeypatch):
    users = {"monitor": "hush"}
    with Mosquitto(tmp_path / "broker", users=users, acl="user monitor\ntopic read #\n") as broker:
        monkeypatch.setenv("CRADLEWATCH_MQTT__PASSWORD", "hush")
        code, lines = check(
            room(), f"mqtt.host={broker.host}", f"mqtt.port={broker.port}", "mqtt.username=monitor"
        )
    assert code == 1
    assert lines["broker"][0] == "FAIL"


def test_the_state_folder_is_looked_at_and_not_made(check, tmp_path):
    kept = f"service.state_dir={tmp_path / 'state'}"
    code, lines = check(room(), kept, "device.id=nursery", only="state")
    assert (code, lines["state"][0]) == (0, "OK")
    assert not (tmp_path / "state").exists()
    (tmp_path / "state").touch()
    code, lines = check(room(), kept, only="state")
    assert (code, lines["state"][0]) == (1, "FAIL")
    assert "cannot be used: Not a directory" in lines["state"][1]
    assert check(
        room(), f"service.state_dir={tmp_path / 'x'}", "service.disk_low_mb=1000000000", only="state"
    )[0]


def test_a_state_folder_that_may_not_be_written_fails(tmp_path, capsys):
    (tmp_path / "state").mkdir()
    with out_of_reach(tmp_path / "state"):
        assert main(["check", "--only", "state", "--set", f"service.state_dir={tmp_path / 'state'}"]) == 1
    assert "cannot be used: Permission denied" in capsys.readouterr().out


def test_what_a_running_service_holds_is_its_own(check, tmp_path):
    keys = (f"service.state_dir={tmp_path}", "device.id=nursery", f"metrics.listen=127.0.0.1:{free_port()}")
    folder = open_state_folder(tmp_path / "nursery")
    for part in ("state", "ports"):
        code, lines = check(room(), *keys, only=part)
        assert (code, lines[part][0]) == (0, "--")
        assert "a service runs with it" in lines[part][1]
    folder.close()
    assert check(room(), *keys, only="ports")[1]["ports"][0] == "OK"


def test_ports_are_tried_as_the_service_does(check, tmp_path):
    keys = (f"service.state_dir={tmp_path}", "push.callback_url=http://pi", "push.channels_file=x")
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        for key in ("push.callback_listen", "metrics.listen"):
            code, lines = check(
                room(), *keys, "push.callback_listen=127.0.0.1:0", f"{key}={taken}", only="ports"
            )
            assert (code, lines["ports"][0]) == (1, "FAIL")
            assert f'{key} = "{taken}" cannot be listened to: Address already in use.' in lines["ports"][1]
    assert check(room(), only="ports")[1]["ports"][0] == "--"


@pytest.mark.audio_device
def test_the_speaker_is_looked_for(check, virtual_microphone):
    assert check(room(), "sounder.enabled=true", only="sounder")[1]["sounder"][:1] == ["OK"]
    code, lines = check(room(), "sounder.enabled=true", "sounder.device=hdmi", only="sounder")
    assert (code, lines["sounder"][0]) == (1, "FAIL")
    assert lines["sounder"][1].startswith("There is no output device 'hdmi'. There is: ")


@pytest.mark.broker
def test_another_service_with_this_id_is_named_and_the_own_one_is_not(check, mosquitto, tmp_path):
    words = ["device.id=nursery", f"mqtt.host={mosquitto.host}", f"mqtt.port={mosquitto.port}"]
    config = Config(
        device={"id": "nursery"},
        mqtt={"host": mosquitto.host, "port": mosquitto.port},
        history={"enabled": False},
    )
    (sink,) = configured_sinks(config, tmp_path / "state" / "nursery", RequestBox())
    sink.open()
    done = threading.Event()

    def go_on():
        while not done.wait(0.02):
            sink.tick()

    working = threading.Thread(target=go_on)
    working.start()
    try:
        wait_until(lambda: sink.stats().connected, "the service reports")
        for folder, mark in (("state", "OK"), ("copied", "FAIL")):
            _, lines = check(room(), *words, f"service.state_dir={tmp_path / folder}", only="broker")
            assert lines["broker"][0] == mark, lines
        assert "two monitors" in lines["broker"][1]
    finally:
        done.set()
        working.join()
        sink.close(2.0)
