import pytest

from monitor.cli import main


@pytest.mark.audio_device
def test_the_microphone_is_listed_as_it_can_be_named(virtual_microphone, capsys):
    assert main(["devices"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["index", "name"]
    (default,) = [row for row in rows if row.split()[1] == "default"]
    assert "Hz" in default


def test_without_any_device_the_remedy_is_told(monkeypatch, capsys):
    # The machine that runs the tests may have one, and PortAudio aborts on an empty ALSA set-up.
    monkeypatch.setattr("monitor.cli.devices.list_devices", list)
    assert main(["devices"]) == 2
    assert capsys.readouterr().err.startswith("cradlewatch: error: There is no input device.")
