from pathlib import Path

import pytest
import structlog

from monitor.errors import ConfigError
from monitor.sinks.push_channels import Channel
from monitor.sinks.push_settings import ChannelSettings, read_channels

GOOD = """
[[channel]]
name = "Mum"
url = "ntfys://ntfy.example/topic"

[[channel]]
name = "Grandma's mail"
url = "mailto://user:hunter22@home.example"
step = 2
urgent_only = true
"""


@pytest.fixture
def read(tmp_path):
    def write_and_read(text, mode=0o600):
        file = tmp_path / "channels.toml"
        file.write_text(text)
        file.chmod(mode)
        return read_channels(file)

    return write_and_read


def test_a_file_of_channels_is_read(read):
    assert read(GOOD) == (
        ChannelSettings("Mum", "ntfys://ntfy.example/topic"),
        ChannelSettings("Grandma's mail", "mailto://user:hunter22@home.example", step=2, urgent_only=True),
    )
    assert "hunter22" not in repr(read(GOOD))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "names no channel"),
        ("channel = 3", "names no channel"),
        ("[channel]\nname = 'Mum'", "names no channel"),
        ('[[chanel]]\nname = "Mum"', "chanel in .* means nothing"),
        ('[[channel]]\nurl = "json://secret"', "Channel 1 .*: name has to be a text"),
        ('[[channel]]\nname = "Mum"', r"Channel 1 .*: \(Mum\) url has to be an address"),
        ('[[channel]]\nname = "Mum"\nurl = "secret"', r"\(Mum\) url has to be an address"),
        ('[[channel]]\nname = "Mum"\nurl = "json://secret"\nstep = 0', r"\(Mum\) step = 0 is not a whole"),
        ('[[channel]]\nname = "Mum"\nurl = "json://secret"\nstep = true', r"\(Mum\) step = True is not"),
        ('[[channel]]\nname = "Mum"\nurl = "json://secret"\nstep = "2"', r"\(Mum\) step = '2' is not"),
        ('[[channel]]\nname = "Mum"\nurl = "json://secret"\nurgent_only = 1', r"\(Mum\) urgent_only = 1 is"),
        ('[[channel]]\nname = "Mum"\nurl = "json://secret"\nstp = 1', r"\(Mum\) stp is no key of a channel"),
        (GOOD + '[[channel]]\nname = "Mum"\nurl = "json://secret"', "Channel 3 .*: name = 'Mum' is taken"),
        ("[[channel", "is not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_channel_and_key_and_without_the_url(read, text, sentence):
    with pytest.raises(ConfigError, match=sentence) as caught:
        read(text)
    assert "secret" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_mistakes_are_told_at_once(read):
    with pytest.raises(ConfigError) as caught:
        read('[[channel]]\nname = "Mum"\nstep = 12\n[[channel]]\nurl = "json://x"\n')
    assert len(str(caught.value).splitlines()) == 3


def test_a_file_that_is_missing_or_no_text_is_told_with_its_path(tmp_path, read):
    with pytest.raises(ConfigError, match=r"push.channels_file cannot be read as .*none.toml: No such file"):
        read_channels(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_channels(tmp_path / "binary.toml")


@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o440, 0), (0o644, 1), (0o660, 1)])
def test_a_file_that_others_may_read_or_change_is_warned_of(read, mode, warned):
    with structlog.testing.capture_logs() as logs:
        read(GOOD, mode)
    assert [entry["event"] for entry in logs] == ["push.channels_open_to_others"] * warned
    assert all(entry["remedy"].startswith("chmod 600 ") for entry in logs)


@pytest.mark.parametrize(("more", "warned"), [("", 1), ('[[channel]]\nname = "B"\nurl = "json://b"', 0)])
def test_that_nobody_hears_of_a_cry_before_it_escalates_is_warned_of(read, more, warned):
    with structlog.testing.capture_logs() as logs:
        read(f'[[channel]]\nname = "A"\nurl = "json://a"\nurgent_only = true\n{more}')
    assert [entry["event"] for entry in logs] == ["push.cries_told_late"] * warned


def test_the_example_that_we_give_away_can_be_used():
    channels = read_channels(Path(__file__).parents[2] / "deploy/config/push-channels.example.toml")
    assert len(channels) == 5
    for channel in channels:
        Channel(channel).check()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"channel = {'[' * 5000}", "is not valid TOML: brackets within brackets."),
        (f"channel = {'9' * 5000}", "holds an impossible number."),
        ('[[channel]]\nname = "a"\nurl = "json://x"\n"\\u001b[31m" = 1', "\\x1b[31m is no key of a channel"),
        (f'[[channel]]\nname = "a"\nurl = "json://x"\nstep = "{"9" * 5000}"', "999… is not a whole number"),
    ],
)
def test_what_is_quoted_is_on_one_line_and_not_endless(tmp_path, text, sentence):
    file = tmp_path / "channels.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_channels(file)
    assert sentence in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600
