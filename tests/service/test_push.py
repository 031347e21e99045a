import datetime as dt

import pytest

from monitor.config import load_config
from monitor.errors import ConfigError
from monitor.service.push import push_settings
from monitor.sinks.push_settings import ChannelSettings, SounderSettings

CHANNELS = '[[channel]]\nname = "Mum"\nurl = "ntfys://ntfy.example/topic"\n'


@pytest.fixture
def load(tmp_path):
    """The configuration of a file in a folder with channels.toml, under an environment."""
    (tmp_path / "channels.toml").write_text(CHANNELS)
    (tmp_path / "channels.toml").chmod(0o600)

    def loaded(text, **environ):
        (tmp_path / "cradlewatch.toml").write_text(text)
        return load_config(tmp_path / "cradlewatch.toml", environ=environ)

    return loaded


def test_nothing_configured_is_nobody_told(load):
    assert push_settings(load("").config) is None


def test_every_key_arrives(load, tmp_path):
    text = """
[device]
id = "nursery"
name = "Nursery"
[push]
channels_file = "channels.toml"
after_s = 5.0
next_step_after_s = 90.0
repeat_every_s = 45.0
fault_after_s = 20.0
daily_test = "12:30"
callback_listen = "127.0.0.1:8099"
callback_url = "http://pi.local:8099"
[sounder]
enabled = true
device = "USB"
after_s = 40.0
volume = 0.5
tone_hz = 1000.0
"""
    settings = push_settings(load(text).config, tmp_path)
    assert settings.device_name == "Nursery"
    assert settings.channels == (ChannelSettings("Mum", "ntfys://ntfy.example/topic"),)
    assert (settings.after_s, settings.next_step_after_s, settings.repeat_every_s) == (5.0, 90.0, 45.0)
    assert (settings.fault_after_s, settings.daily_test) == (20.0, dt.time(12, 30))
    assert (settings.callback_listen, settings.callback_url) == ("127.0.0.1:8099", "http://pi.local:8099")
    assert settings.sounder == SounderSettings("USB", 40.0, 0.5, 1000.0)
    assert settings.state_dir == tmp_path


def test_a_sounder_needs_no_channels(load):
    settings = push_settings(load("[sounder]\nenabled = true\n").config)
    assert settings.channels == ()
    assert settings.sounder == SounderSettings()


def test_the_channels_are_looked_up_among_the_credentials_first(load, tmp_path):
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "channels.toml").write_text(CHANNELS.replace("Mum", "Dad"))
    (credentials / "channels.toml").chmod(0o440)
    text = '[push]\nchannels_file = "channels.toml"\n'
    assert push_settings(load(text, CREDENTIALS_DIRECTORY=str(credentials)).config).channels[0].name == "Dad"
    assert push_settings(load(text).config).channels[0].name == "Mum"


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ("callback_listen = '0.0.0.0:8099'\nchannels_file = 'x'", "belong together"),
        ("callback_url = 'http://pi'\nchannels_file = 'x'", "belong together"),
        (
            "callback_listen = ':99999'\ncallback_url = 'http://pi'\nchannels_file = 'x'",
            "no port of 0 to 65535",
        ),
        ("daily_test = '12:00'", "push.daily_test has no effect without channels"),
        ("daily_test = '24:00'", 'push.daily_test = "24:00" .* is not a text that is a time of day'),
        ("callback_listen = 'pi'", "push.callback_listen"),
        ("callback_url = 'pi.local, method=GET'", "push.callback_url"),
        ("repeat_every_s = 1", "push.repeat_every_s = 1 .* from 15 to 3600"),
    ],
)
def test_what_cannot_work_together_is_refused(load, keys, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load(f"[push]\n{keys}\n")


def test_a_mistake_among_the_channels_stops_the_start(load, tmp_path):
    (tmp_path / "channels.toml").write_text("[[channel]]\n")
    with pytest.raises(ConfigError, match="Channel 1"):
        push_settings(load('[push]\nchannels_file = "channels.toml"\n').config)
