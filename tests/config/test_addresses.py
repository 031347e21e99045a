"""What users write where the name of the broker belongs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.cli import main
from monitor.config import Flag, load_config
from monitor.config.addresses import host_mistake
from monitor.errors import ConfigError
from monitor.redaction import redacted

GOOD = (
    "homeassistant.local",
    "192.168.1.2",
    "::1",
    "fe80::1%eth0",
    "bröker",
    "my_broker",
    "broker.",
    "core-mosquitto",
)


@pytest.mark.parametrize("host", GOOD)
def test_names_and_addresses_are_taken_as_they_are(host):
    assert load_config(flags=[Flag("mqtt.host", host, "--mqtt-host")], environ={}).config.mqtt.host == host


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("mqtt://broker", 'is a URL: set mqtt.host = "broker".'),
        ("mqtt://broker:1884", 'is a URL: set mqtt.host = "broker" and mqtt.port = 1884.'),
        ("MQTTS://broker", 'is a URL: set mqtt.host = "broker" and mqtt.tls = true.'),
        ("http://broker/mqtt", 'is a URL: set mqtt.host = "broker". WebSockets are not spoken'),
        ("broker:1883", 'holds a port: set mqtt.host = "broker" and mqtt.port = 1883.'),
        ("[fe80::1]", 'holds brackets: set mqtt.host = "fe80::1".'),
        ("[fe80::1]:1883", 'holds a port: set mqtt.host = "fe80::1" and mqtt.port = 1883.'),
        (" broker", 'holds a blank: set mqtt.host = "broker".'),
        ("bro ker", "holds a blank: set mqtt.host to the name or address alone."),
        ("broker/", 'holds a path: set mqtt.host = "broker".'),
        ("a:b:c", "is not a name or an address: set mqtt.host to the name or address alone."),
    ],
)
def test_what_is_beside_the_name_gets_the_key_that_it_belongs_to(host, words):
    with pytest.raises(ConfigError) as error:
        load_config(flags=[Flag("mqtt.host", host, "--mqtt-host")], environ={})
    assert error.value.message.startswith(f'mqtt.host = "{host}" {words}')


@pytest.mark.parametrize(
    "host",
    [
        "mum:hu5h@broker",
        "mqtt://mum:hu5h@broker:1883",
        "mum:hu/5h@x@broker",
        "mum:a://hu5h@broker",
        "mum:h u5h@b",
    ],
)
@pytest.mark.parametrize("way", ["--set", "--mqtt-host"])
def test_a_password_in_the_host_is_refused_and_shown_nowhere(host, way, capsys):
    arguments = ["--set", f"mqtt.host={host}"] if way == "--set" else ["--mqtt-host", host]
    assert main(["run", *arguments]) == 2
    said = capsys.readouterr().err
    assert "holds a user name or a password" in said
    assert "mqtt.username and mqtt.password_file" in said
    assert "u5h" not in said
    assert "mum" not in said


SIGNS = "☂✈✔"
"""Of a secret: nowhere in what we say ourselves."""


@given(
    st.text(SIGNS + "ab:/@?#[] \n\t%\"'", max_size=12).map(lambda text: f"☂{text}✔"),
    st.sampled_from(["", "mqtt://", "MQTTS://", " http://", "u:p://"]),
    st.sampled_from(["broker", "[::1]:1883", "broker:1883/x", ""]),
)
def test_no_secret_is_ever_repeated(secret, scheme, host):
    written = f"{scheme}mum:{secret}@{host}"
    said = [host_mistake("mqtt.host", written), redacted(written)]
    with pytest.raises(ConfigError) as error:
        load_config(flags=[Flag("mqtt.host", written, "--mqtt-host")], environ={})
    for sentence in [*said, str(error.value)]:
        assert not set(SIGNS) & set(sentence)


def test_config_shows_no_password_in_an_address(tmp_path, capsys):
    file = tmp_path / "c.toml"
    file.write_text(
        "[push]\nchannels_file = 'c'\ncallback_listen = ':8099'\ncallback_url = 'https://mum:hu5h@pi.local:8099'\n"
    )
    assert main(["config", "--config", str(file)]) == 0
    said = capsys.readouterr().out
    assert '"https://(hidden)@pi.local:8099"' in said
    assert "hu5h" not in said
    file.write_text("[push]\ncallback_url = 'https://mum:hu5h@pi.local:8099/?x'\n")
    assert main(["config", "--config", str(file)]) == 2
    assert "hu5h" not in capsys.readouterr().err
    url = "push.callback_url=https://mum:hu5h@pi.local"
    settings = ["push.channels_file=c", "push.callback_listen=:8099", url]
    assert main(["config", *(part for text in settings for part in ("--set", text))]) == 0
    assert "hu5h" not in capsys.readouterr().out


def test_what_is_not_an_address_is_shown_whole():
    assert redacted("Mum, the @ is mine") == "Mum, the @ is mine"
    assert redacted("http://pi.local:8099/a@b") == "http://(hidden)@b", "rather too much than too little"
    assert redacted("https://pi.local/a?token=hu5h&n=1") == "https://pi.local/a?token=(hidden)&n=1"
