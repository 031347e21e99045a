"""`cradlewatch alert test` with real receivers."""

import re
from contextlib import ExitStack

import pytest

from monitor.cli import main
from tests.sinks.receivers import HttpReceiver, free_port


@pytest.fixture
def alert(tmp_path, capsys):
    """Run the command on channels (name to URL): exit code, lines and what stands on standard error."""

    def run(channels, *words):
        file = tmp_path / "channels.toml"
        file.write_text("".join(f'[[channel]]\nname = "{n}"\nurl = "{url}"\n' for n, url in channels.items()))
        file.chmod(0o600)
        flags = ["--set", f"push.channels_file={file}"] if channels else []
        code = main(["alert", "test", *words, *flags])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err

    return run


@pytest.fixture
def receivers():
    with ExitStack() as stack:
        yield [stack.enter_context(HttpReceiver()) for _ in range(2)]


def test_each_channel_is_tried_and_told_in_a_line(alert, receivers):
    mum, dad = receivers
    code, lines, _ = alert({"Mum": f"ntfy://{mum.address}/topic", "Dad": f"json://{dad.address}/x"})
    assert code == 0
    assert all(re.fullmatch(r"OK    (Mum|Dad)  delivered in \d+ ms", line) for line in lines)
    assert mum.received[0].json["title"] == "Cradlewatch: test alert"
    assert "not crying" in dad.received[0].json["message"]
    assert "x-priority" not in mum.received[0].headers


def test_one_that_fails_says_why_and_what_to_do_and_spoils_the_exit_code(alert, receivers):
    mum, dad = receivers
    dad.answers.append(403)
    code, lines, _ = alert(
        {
            "Mum": f"ntfy://{mum.address}/topic",
            "Dad": f"ntfy://tk_secret0@{dad.address}/secret1",
            "Gran": f"json://127.0.0.1:{free_port()}/secret2",
            "Nobody": "nonsense://secret3/x",
        }
    )
    assert code == 1
    assert [line.split()[:2] for line in lines] == [
        ["OK", "Mum"],
        ["FAIL", "Dad"],
        ["FAIL", "Gran"],
        ["FAIL", "Nobody"],
    ]
    assert "403" in lines[1]
    assert "may write there" in lines[1]
    assert "The connection was refused." in lines[2]
    assert not re.search(r"secret\d", "".join(lines))


def test_one_channel_alone_and_as_loud_as_can_be(alert, receivers):
    mum, dad = receivers
    channels = {"Mum": f"ntfy://{mum.address}/topic", "Dad": f"ntfy://{dad.address}/x"}
    code, lines, _ = alert(channels, "--channel", "Dad", "--urgent")
    assert (code, len(lines)) == (0, 1)
    assert (len(mum.received), len(dad.received)) == (0, 1)
    assert dad.received[0].headers["x-priority"] == "max"


def test_an_unknown_channel_or_none_at_all_is_told(alert, receivers):
    code, _, err = alert({"Mum": f"json://{receivers[0].address}"}, "--channel", "Mom")
    assert code == 2
    assert "There is no channel 'Mom'. The channels are: Mum." in err
    code, _, err = alert({})
    assert code == 2
    assert "push.channels_file is not set" in err


def test_a_speaker_that_is_not_there_is_told(alert):
    code, lines, _ = alert({}, "--sounder", "--set", "sounder.device=loudspeaker of ours")
    assert code == 1
    assert lines[0].startswith("FAIL  sounder  ")
    assert "loudspeaker of ours" in lines[0]
