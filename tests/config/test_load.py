"""Where values come from, which wins, and the sentence for each kind of mistake."""

from pathlib import Path

import pytest

from monitor.config import Flag, load_config
from monitor.errors import ConfigError
from tests.access import out_of_reach


def write(folder: Path, text: str) -> Path:
    path = folder / "cradlewatch.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path | None = None, *, environ=None, flags=()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ=environ or {}, flags=flags, default_path=Path("does-not-exist"))
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def test_later_sources_win_and_are_named_as_the_origin(tmp_path):
    path = write(tmp_path, "[mqtt]\nhost = 'file'\nport = 1001\nkeepalive_s = 20\n")
    loaded = load_config(
        path,
        environ={"CRADLEWATCH_MQTT__HOST": "environment", "CRADLEWATCH_MQTT__PORT": "1002"},
        flags=[Flag("mqtt.port", "1003", "--set mqtt.port=1003")],
    )
    assert loaded.config.mqtt.port == 1003
    assert loaded.config.mqtt.host == "environment"
    assert loaded.config.mqtt.keepalive_s == 20
    assert loaded.origins["mqtt.port"] == "flag --set mqtt.port=1003"
    assert loaded.origins["mqtt.host"] == "environment variable CRADLEWATCH_MQTT__HOST"
    assert loaded.origins["mqtt.keepalive_s"] == f"file {path}: mqtt.keepalive_s"
    assert loaded.origins["mqtt.tls"] == "default"


def test_the_variable_names_the_file_and_the_default_path_counts_only_if_it_exists(tmp_path):
    path = write(tmp_path, "[log]\nlevel = 'debug'\n")
    by_variable = load_config(environ={"CRADLEWATCH_CONFIG": str(path)})
    by_default = load_config(environ={}, default_path=path)
    without = load_config(environ={}, default_path=tmp_path / "absent.toml")
    assert by_variable.config.log.level == by_default.config.log.level == "debug"
    assert without.config.log.level == "info"
    assert without.path is None


def test_a_default_path_out_of_reach_is_a_warning_and_a_named_one_is_a_mistake(tmp_path, caplog):
    path = write(tmp_path, "[log]\nlevel = 'debug'\n")
    with out_of_reach(tmp_path):
        assert load_config(environ={}, default_path=path).path is None
        (named,) = problems(path)
    assert caplog.messages == [f"{path} is out of reach and does not count: Permission denied"]
    assert named.startswith(f"The configuration file {path} cannot be read: Permission denied.")


def test_an_empty_variable_means_not_set(tmp_path):
    path = write(tmp_path, "[mqtt]\nhost = 'broker'\n")
    assert load_config(path, environ={"CRADLEWATCH_MQTT__HOST": ""}).config.mqtt.host is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "[mqtt]\nport = 70000",
            (
                "mqtt.port = 70000 (file {path}: mqtt.port) is not a whole number from 1 to 65535: "
                "change it, or leave it out."
            ),
        ),
        (
            "[mqtt]\nport = '1883'",
            (
                'mqtt.port = "1883" (file {path}: mqtt.port) is not a whole number from 1 to 65535: '
                "change it, or leave it out."
            ),
        ),
        (
            "[mqtt]\nkeepalive_s = true",
            (
                "mqtt.keepalive_s = true (file {path}: mqtt.keepalive_s) is not a "
                "whole number from 5 to 3600 (s): "
                "change it, or leave it out for 15."
            ),
        ),
        (
            "[log]\nlevel = 'loud'",
            (
                'log.level = "loud" (file {path}: log.level) is not one of "debug", '
                '"info", "warning", "error": '
                'change it, or leave it out for "info".'
            ),
        ),
        (
            "[detect]\nonset_threshold = nan",
            (
                "detect.onset_threshold = NaN (file {path}: detect.onset_threshold) is "
                "not a number above 0 and below 1: "
                "change it, or leave it out."
            ),
        ),
        ("[mqtt]\nhots = 'x'", "Unknown key mqtt.hots (file {path}: mqtt.hots). Did you mean mqtt.host?"),
        (
            "[log]\nkeepalive_s = 5",
            "Unknown key log.keepalive_s (file {path}: log.keepalive_s). Did you mean mqtt.keepalive_s?",
        ),
        ("[mqttt]\nhost = 'x'", "Unknown section [mqttt] in {path}. Did you mean mqtt?"),
        ("mqtt = 3", "mqtt in {path} is a section: write [mqtt] above its keys."),
        (
            "[mqtt]\npassword = 'x'",
            (
                "mqtt.password (file {path}: mqtt.password) would lie open there: put "
                "it into a file and name that "
                "as mqtt.password_file, or set CRADLEWATCH_MQTT__PASSWORD."
            ),
        ),
        ("[source]\nkind = 'file'", 'source.kind = "file" needs a recording: set source.file.'),
        (
            "[detect]\nonset_threshold = 0.4\noffset_threshold = 0.5",
            (
                "detect.offset_threshold = 0.5 is above detect.onset_threshold = 0.4: "
                "an episode would end as it "
                "begins; lower the offset threshold."
            ),
        ),
        (
            "[detect]\nonset_hits = 5\nonset_window_hops = 3",
            (
                "detect.onset_hits = 5 can never be reached in "
                "detect.onset_window_hops = 3 steps: lower the one or "
                "raise the other."
            ),
        ),
        (
            "[mqtt]\nca_file = '/ca.crt'",
            "mqtt.ca_file has no effect without encryption: set mqtt.tls = true or leave it out.",
        ),
        (
            "[mqtt]\ntls = true\ncert_file = '/c.crt'",
            "mqtt.cert_file and mqtt.key_file belong together: set both or neither.",
        ),
        (
            "[microphone]\nchannel = 1\nchannels = 1",
            ("microphone.channel = 1 does not exist among microphone.channels = 1: the first channel is 0."),
        ),
        (
            "[source]\nkind = 'stdin'\nchannel = 2",
            (
                "source.channel = 2 does not exist in PCM with source.pcm_channels = 1: "
                "the first channel is 0."
            ),
        ),
    ],
)
def test_each_mistake_in_the_file_has_its_sentence(tmp_path, text, sentence):
    path = write(tmp_path, text)
    assert problems(path) == [sentence.format(path=path)]


def test_a_mistake_in_the_environment_names_the_variable():
    assert problems(environ={"CRADLEWATCH_MQTT__PORT": "abc"}) == [
        (
            'mqtt.port = "abc" (environment variable CRADLEWATCH_MQTT__PORT) is '
            "not a whole number from 1 to 65535: "
            "change it, or leave it out."
        )
    ]


def test_a_mistake_in_a_flag_names_the_flag():
    assert problems(flags=[Flag("detect.vad_mode", "9", "--set detect.vad_mode=9")]) == [
        (
            'detect.vad_mode = "9" (flag --set detect.vad_mode=9) is not a whole '
            "number from 0 to 3: change it, or "
            "leave it out for 2."
        )
    ]


def test_one_underscore_for_two_is_caught():
    assert problems(environ={"CRADLEWATCH_MQTT_HOST": "x"}) == [
        "The environment variable CRADLEWATCH_MQTT_HOST sets nothing. Did you mean CRADLEWATCH_MQTT__HOST?"
    ]


def test_all_mistakes_come_at_once_one_a_line(tmp_path):
    path = write(tmp_path, "[mqtt]\nport = 0\n[log]\nlevel = 1\n[nonsense]\n")
    lines = problems(path, environ={"CRADLEWATCH_MQTT__TLS": "perhaps"})
    assert len(lines) == 4
    assert {line.split()[0] for line in lines} == {"mqtt.port", "log.level", "Unknown", "mqtt.tls"}


def test_a_syntax_error_names_the_line(tmp_path):
    (line,) = problems(write(tmp_path, "[mqtt]\nhost = broker\n"))
    assert "is not valid TOML" in line
    assert "line 2" in line


def test_a_missing_file_says_how_to_make_one(tmp_path):
    path = tmp_path / "absent.toml"
    assert problems(path) == [
        (
            f"The configuration file {path} does not exist. Create it (`cradlewatch "
            f"config --example > {path}`) "
            "or name another with --config."
        )
    ]


def test_an_unreadable_file_says_why(tmp_path):
    assert problems(tmp_path) == [
        (
            f"The configuration file {tmp_path} cannot be read: Is a directory. "
            f"Check the path and the access rights."
        )
    ]


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "cradlewatch.toml"
    path.write_bytes(b"[mqtt]\nhost = '\xff'\n")
    assert problems(path) == [f"The configuration file {path} is not UTF-8 text (byte 15). Save it as UTF-8."]


# --- the password ---------------------------------------------------------------------------------


def test_the_password_comes_from_its_file_beside_the_configuration(tmp_path):
    (tmp_path / "secret").write_text("hush\n")
    path = write(tmp_path, "[mqtt]\nusername = 'm'\npassword_file = 'secret'\n")
    loaded = load_config(path, environ={})
    assert loaded.config.mqtt.password is not None
    assert loaded.config.mqtt.password.get_secret_value() == "hush"
    assert "hush" not in repr(loaded)


def test_a_systemd_credential_goes_before_a_file_beside_the_configuration(tmp_path):
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "secret").write_text("from systemd")
    (tmp_path / "secret").write_text("from beside")
    path = write(tmp_path, "[mqtt]\nusername = 'm'\npassword_file = 'secret'\n")
    loaded = load_config(path, environ={"CREDENTIALS_DIRECTORY": str(credentials)})
    assert loaded.config.mqtt.password is not None
    assert loaded.config.mqtt.password.get_secret_value() == "from systemd"
    assert loaded.origins["mqtt.password"] == f"file {credentials / 'secret'}"


def test_a_systemd_credential_out_of_reach_is_named(tmp_path):
    environ = {
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "CRADLEWATCH_MQTT__USERNAME": "m",
        "CRADLEWATCH_MQTT__PASSWORD_FILE": "secret",
    }
    with out_of_reach(tmp_path):
        (line,) = problems(environ=environ)
    assert f"cannot be read as {tmp_path / 'secret'}: Permission denied." in line


def test_the_environments_password_wins_over_the_file(tmp_path):
    path = write(tmp_path, "[mqtt]\nusername = 'm'\npassword_file = 'absent'\n")
    loaded = load_config(path, environ={"CRADLEWATCH_MQTT__PASSWORD": "env"})
    assert loaded.config.mqtt.password is not None
    assert loaded.config.mqtt.password.get_secret_value() == "env"


def test_a_missing_and_an_empty_password_file_are_named(tmp_path):
    path = write(tmp_path, "[mqtt]\nusername = 'm'\npassword_file = 'secret'\n")
    assert problems(path) == [
        (
            f'mqtt.password_file = "secret" (file {path}: mqtt.password_file) '
            f"cannot be read as {tmp_path / 'secret'}: "
            "No such file or directory. Check the path and the access rights."
        )
    ]
    (tmp_path / "secret").write_text("\n")
    assert problems(path) == [
        (
            f'mqtt.password_file = "secret" (file {path}: mqtt.password_file) is '
            f"empty: write the password into it."
        )
    ]


MARK = "\ufeff"


@pytest.mark.parametrize("written", ["hush", "hush\n", "hush\r\n", "hush\n\n", f"{MARK}hush\r\n"])
def test_a_password_file_as_any_editor_saves_it(tmp_path, written):
    (tmp_path / "secret").write_text(written, encoding="utf-8", newline="")
    path = write(tmp_path, f"{MARK}[mqtt]\r\nusername = 'm'\r\npassword_file = 'secret'\r\n")
    password = load_config(path, environ={}).config.mqtt.password
    assert password is not None
    assert password.get_secret_value() == "hush"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hush\nsecond\n", "holds 2 lines: write the password alone into it, on one line."),
        (b"user\rhush", "holds 2 lines"),
        (b"\nhush\n", "holds 2 lines"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"  \n", "is empty"),
        ("hush".encode("utf-16"), "it is UTF-16 text, not UTF-8. Save it as UTF-8."),
        ("hush".encode("utf-16-le"), "holds a control character"),
        ("grün".encode("latin-1"), "it is not UTF-8 text (byte 2). Save it as UTF-8."),
    ],
)
def test_a_password_file_that_cannot_be_meant_is_refused_without_its_content(tmp_path, content, words):
    (tmp_path / "secret").write_bytes(content)
    (line,) = problems(write(tmp_path, "[mqtt]\nusername = 'm'\npassword_file = 'secret'\n"))
    assert line.startswith('mqtt.password_file = "secret"')
    assert words in line
    assert "hush" not in line


def test_a_password_with_a_blank_at_an_end_or_open_to_others_is_used_and_said(tmp_path, caplog):
    secret = tmp_path / "secret"
    secret.write_text("hush \n")
    secret.chmod(0o644)
    path = write(tmp_path, "[mqtt]\nusername = 'm'\npassword_file = 'secret'\n")
    password = load_config(path, environ={}).config.mqtt.password
    assert password is not None
    assert password.get_secret_value() == "hush "
    blank, others = (record.getMessage() for record in caplog.records)
    assert blank == f"The password in {secret} begins or ends with a blank, which counts as part of it."
    assert others == f"The password in {secret} is open to others: chmod 600 {secret}"
    assert "hush" not in caplog.text
    caplog.clear()
    secret.write_text("hush")
    secret.chmod(0o640)
    load_config(path, environ={})
    assert caplog.records == []


def test_a_key_that_is_open_to_others_is_said(tmp_path, caplog):
    key = tmp_path / "client.key"
    key.touch()
    key.chmod(0o644)
    text = f"[mqtt]\ntls = true\ncert_file = '{tmp_path}/client.crt'\nkey_file = '{key}'\n"
    load_config(write(tmp_path, text), environ={})
    assert [record.getMessage() for record in caplog.records] == [
        f"The key in {key} is open to others: chmod 600 {key}"
    ]
    caplog.clear()
    key.chmod(0o600)
    load_config(write(tmp_path, text), environ={})
    assert caplog.records == []


def test_a_service_that_may_not_read_its_password_hears_where_to_put_it(tmp_path):
    environ = {
        "STATE_DIRECTORY": "/var/lib/cradlewatch",
        "CRADLEWATCH_MQTT__USERNAME": "m",
        "CRADLEWATCH_MQTT__PASSWORD_FILE": str(tmp_path / "closed" / "secret"),
    }
    (tmp_path / "closed").mkdir()
    with out_of_reach(tmp_path / "closed"):
        (line,) = problems(environ=environ)
    assert line.endswith(
        "Permission denied. The service has a user of its own: make it root's file "
        '/etc/credstore/cradlewatch.mqtt-password, mode 0600, and set mqtt.password_file = "mqtt-password".'
    )


def test_a_configuration_in_utf_16_is_named(tmp_path):
    path = tmp_path / "cradlewatch.toml"
    path.write_text("[mqtt]\nport = 1\n", encoding="utf-16")
    assert problems(path) == [f"The configuration file {path} is UTF-16 text, not UTF-8. Save it as UTF-8."]


def test_a_password_on_the_command_line_is_refused_and_not_repeated():
    (line,) = problems(flags=[Flag("mqtt.password", "hush", "--set mqtt.password=…")])
    assert "CRADLEWATCH_MQTT__PASSWORD" in line
    assert "hush" not in line


def test_a_password_without_a_user_is_a_contradiction():
    assert problems(environ={"CRADLEWATCH_MQTT__PASSWORD": "x"}) == [
        "A password for the broker is set without mqtt.username: set the user name as well."
    ]


def test_brackets_within_brackets_are_one_sentence(tmp_path):
    (line,) = problems(write(tmp_path, f"[source]\nfile = {'[' * 5000}{']' * 5000}\n"))
    assert "is not valid TOML: brackets within brackets." in line


def test_a_number_of_thousands_of_digits_is_one_sentence(tmp_path):
    (line,) = problems(write(tmp_path, f"[mqtt]\nport = {'9' * 5000}\n"))
    assert "is not valid TOML" in line
    assert len(line) < 500


def test_a_path_with_a_nul_is_refused_before_the_system_is_asked(tmp_path):
    (line,) = problems(write(tmp_path, '[mqtt]\npassword_file = "pass\\u0000word"\n'))
    assert line.startswith('mqtt.password_file = "pass\\u0000word"')
    assert "is not a path" in line


@pytest.mark.parametrize("character", ["\\u0000", "\\n", "\\u007f"])
def test_a_name_has_no_control_characters(tmp_path, character):
    (line,) = problems(write(tmp_path, f'[mqtt]\nhost = "a{character}b"\n'))
    assert "is not a text of 1 to 256 characters, on one line" in line


def test_what_is_quoted_is_on_one_line_harmless_to_a_terminal_and_not_endless():
    key = "mqtt.\x1b[31mport\n"
    (line,) = problems(flags=[Flag(key, "1", "--set")])
    assert line.startswith("Unknown key mqtt.\\x1b[31mport\\n (flag --set).")
    (line,) = problems(environ={"CRADLEWATCH_MQTT__PORT": "9" * 5000})
    assert len(line) < 500
    assert "999…" in line


def test_a_password_that_no_broker_takes_is_refused(tmp_path):
    (tmp_path / "secret").write_text("x" * 65_536)
    (line,) = problems(write(tmp_path, '[mqtt]\nusername = "u"\npassword_file = "secret"\n'))
    assert "is too long" in line


@pytest.mark.parametrize(
    ("password", "problem"),
    [("geheim\r", "holds a control character"), ("two\nlines", "holds 2 lines"), (" ", "is empty")],
)
def test_a_password_from_the_environment_is_checked_like_one_from_a_file(password, problem):
    (line,) = problems(environ={"CRADLEWATCH_MQTT__PASSWORD": password, "CRADLEWATCH_MQTT__USERNAME": "mum"})
    assert line.startswith(f"mqtt.password (environment variable CRADLEWATCH_MQTT__PASSWORD) {problem}")
    assert "geheim" not in line
