"""The command line as a user meets it: help, mistakes, pipes and interrupts."""

import subprocess
import sys
from pathlib import Path

import pytest

import monitor
from monitor.cli import COMMANDS, main

ROOT = Path(__file__).parents[2]


def test_without_a_command_the_help_lists_all_commands(capsys):
    assert main([]) == 0
    listing = capsys.readouterr().out
    assert all(f"  {name} " in listing for name in COMMANDS)


@pytest.mark.parametrize("argv", [["--version"], ["version"]])
def test_the_version_is_printed(argv, capsys):
    try:
        code = main(argv)
    except SystemExit as stop:
        code = stop.code
    assert code == 0
    assert capsys.readouterr().out == f"cradlewatch {monitor.__version__}\n"


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"bench", "version"}))
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: cradlewatch {command}")
    assert "configuration" in text or command == "devices"


def test_a_mistyped_command_is_answered_with_a_suggestion(capsys):
    assert main(["scn"]) == 2
    assert capsys.readouterr().err == "cradlewatch: error: There is no command 'scn'. Did you mean scan?\n"


def test_every_mistake_in_the_configuration_is_a_line_and_no_traceback(tmp_path, capsys):
    path = tmp_path / "cradlewatch.toml"
    path.write_text("[mqtt]\nport = 0\nhots = 'x'\n")
    assert main(["run", "--config", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("cradlewatch: error: ") for line in lines)
    assert "mqtt.port = 0" in lines[0]
    assert "Did you mean mqtt.host?" in lines[1]


def test_a_setting_without_a_value_is_explained(capsys):
    assert main(["config", "--set", "mqtt.host"]) == 2
    assert "Write --set section.key=value." in capsys.readouterr().err


def test_ctrl_c_ends_quietly(monkeypatch, capsys):
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("monitor.cli._dispatch", interrupted)
    assert main(["config"]) == 130
    assert capsys.readouterr().err == "cradlewatch: interrupted\n"


def test_a_reader_that_has_enough_causes_no_complaint():
    """More output than a pipe holds, to a reader that is gone."""
    script = f"{sys.executable} -m monitor config --schema | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    assert done.stdout.strip() in {"141", "0"}  # 0: all of it fitted before the reader left


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        ("config >/dev/full", 1, "The output cannot be written: No space left on device."),
        ("config --schema >/dev/full", 1, "The output cannot be written: No space left on device."),
        ("config >&-", 1, "The output cannot be written: Bad file descriptor."),
        ("run --stdin --jsonl - <&-", 2, 'source.kind = "stdin", but stdin is closed.'),
    ],
)
def test_a_closed_or_full_stream_is_one_sentence(command, code, sentence):
    done = subprocess.run(
        ["bash", "-c", f"CRADLEWATCH_CONFIG=/dev/null {sys.executable} -m monitor {command}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code
    (line,) = [line for line in done.stderr.splitlines() if "level=info" not in line]
    assert line.startswith(f"cradlewatch: error: {sentence}")


# --- config ---------------------------------------------------------------------------------------


def test_config_prints_value_unit_and_origin(tmp_path, monkeypatch, capsys):
    path = tmp_path / "cradlewatch.toml"
    path.write_text("[mqtt]\nhost = 'broker.lan'\n")
    monkeypatch.setenv("CRADLEWATCH_MQTT__KEEPALIVE_S", "20")
    assert main(["config", "--config", str(path), "--set", "log.level=debug"]) == 0
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()}
    assert rows["mqtt.host"].split(maxsplit=1) == ['"broker.lan"', f"file {path}: mqtt.host"]
    assert rows["mqtt.keepalive_s"].split(maxsplit=2)[:2] == ["20", "s"]
    assert "environment variable CRADLEWATCH_MQTT__KEEPALIVE_S" in rows["mqtt.keepalive_s"]
    assert "flag --set log.level=debug" in rows["log.level"]
    assert rows["mqtt.tls"].split() == ["false", "default"]


def test_config_never_prints_the_password(monkeypatch, capsys):
    monkeypatch.setenv("CRADLEWATCH_MQTT__USERNAME", "u")
    monkeypatch.setenv("CRADLEWATCH_MQTT__PASSWORD", "hush")
    assert main(["config"]) == 0
    text = capsys.readouterr().out
    assert "hush" not in text
    assert "(set)" in text


def test_the_example_and_the_schema_are_printed(capsys):
    assert main(["config", "--example"]) == 0
    shipped = (ROOT / "deploy" / "config" / "cradlewatch.example.toml").read_text(encoding="utf-8")
    assert capsys.readouterr().out == shipped
    assert main(["config", "--schema"]) == 0
    assert capsys.readouterr().out.startswith("{")


@pytest.mark.parametrize("key", ["mqtt.password", "mqtt.pasword", "MQTT.password", "password"])
def test_a_password_on_the_command_line_is_not_repeated_even_where_it_is_misspelt(key, capsys):
    assert main(["config", "--set", f"{key}=hunter2"]) == 2
    captured = capsys.readouterr()
    assert "hunter2" not in captured.err + captured.out
    assert f"--set {key}=…" in captured.err


@pytest.mark.parametrize("command", [[], ["scan", "a.wav"], ["report"]])
def test_an_argument_that_is_not_understood_is_repeated_without_harm(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command, "--x\x1b[2J\n\u202e"])
    assert stop.value.code == 2
    assert r"\x1b[2J\n\u202e" in capsys.readouterr().err
