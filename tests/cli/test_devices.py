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


def test_a_sound_system_that_crashes_is_one_sentence_with_its_remedy(monkeypatch, tmp_path, capsys):
    """PortAudio aborts over an ALSA without any configuration."""
    (tmp_path / "asound.conf").write_text("")
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(tmp_path / "asound.conf"))
    assert main(["devices"]) == 1
    error = capsys.readouterr().err
    assert "was ended by SIGABRT and listed nothing. The sound system crashed: " in error
