"""Apprise is one for the whole process, so each case has a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("apprise")
ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys
from monitor.errors import ConfigError
from monitor.sinks.push_channels import Channel
from monitor.sinks.push_settings import ChannelSettings

for url in sys.argv[1:]:
    try:
        Channel(ChannelSettings("phone", url)).check()
    except ConfigError as error:
        print("refused", error.message)
    else:
        print("usable")
import apprise
services = apprise.plugins.N_MGR.plugins(include_disabled=True)
print(len(list(services)))
"""


def _check(*urls, environ=None):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *urls],
        cwd=ROOT,
        env=os.environ | (environ or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *answers, services = done.stdout.splitlines()
    return answers, int(services)


def test_only_the_services_that_are_used_are_loaded():
    urls = [
        "ntfys://topic-of-mine",
        "pover://USERKEY0123456789USERKEY01234567@APPTOKEN0123456789APPTOKEN0123",
        "tgram://123456789:abcdefg_hijklmnop/12345678/",
        "JSON://127.0.0.1:1/",
        "mailto://user:pass@example.org",
        "matrix://user:pass@localhost",
    ]
    answers, services = _check(*urls)
    assert answers == ["usable"] * len(urls)
    assert services == len(urls)


def test_an_address_that_no_service_claims_by_its_scheme_is_offered_to_all():
    webhook = f"https://discord.com/api/webhooks/{'0' * 10}/{'B' * 40}"
    answers, services = _check("json://127.0.0.1:1/", webhook)
    assert answers == ["usable", "usable"]
    assert services > 100


def test_an_unknown_scheme_is_refused():
    answers, _ = _check("smoke-signal://127.0.0.1/")
    assert len(answers) == 1
    assert answers[0].startswith("refused")


def test_a_machine_without_a_folder_for_temporary_files_can_push(tmp_path):
    program = f"import tempfile; tempfile.tempdir = {str(tmp_path / 'absent')!r}\n{PROGRAM}"
    done = subprocess.run(
        [sys.executable, "-c", program, "json://127.0.0.1:1/"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines()[0] == "usable", done.stderr
