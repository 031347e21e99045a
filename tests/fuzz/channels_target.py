"""The file that names phones and mail addresses, with all their secrets."""

from __future__ import annotations

import random
from pathlib import Path

from typing_extensions import override

from monitor.errors import ConfigError
from monitor.sinks.push_channels import Channel, require_apprise
from monitor.sinks.push_settings import read_channels
from tests.fuzz.config_target import _toml_value
from tests.fuzz.mutate import any_text, any_value, spoiled
from tests.fuzz.target import CANARY, Target

_URLS = (
    f"ntfys://{CANARY}@host/topic",
    f"ntfy://user:{CANARY}@localhost:8080/topic?priority=max",
    f"pover://user@{CANARY}",
    f"tgram://123456789:{CANARY}_abcdefghijklmnopqrstuvwx/12315544/",
    f"mailto://user:{CANARY}@example.org?to=a@b.c",
    f"mailtos://user:{CANARY}@mail.example.org:587/?from=x",
    f"json://localhost/{CANARY}",
    f"gotify://localhost/{CANARY}",
    f"discord://1234567890/{CANARY}",
    f"nothing://{CANARY}",
    f"matrixs://user:{CANARY}@host/#room",
)


class ChannelsTarget(Target):
    name = "push channels"
    share = 5_000
    memory_mb = 1024

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        require_apprise()

    @override
    def make(self, rng: random.Random) -> bytes:
        entries = []
        for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
            url = rng.choice(_URLS)
            if rng.random() < 0.4:
                # Behind the secret, or it would not be known for one.
                url = url + any_text(rng, 30)
            if rng.random() < 0.3:
                at = rng.randrange(len(url) - len(CANARY))
                if not url.index(CANARY) <= at < url.index(CANARY) + len(CANARY):
                    url = url[:at] + rng.choice(":/@?#[]%\0 ") + url[at + 1 :]
            table = {"name": rng.choice(("Mum", "Dad", any_text(rng, 50))), "url": url}
            if rng.random() < 0.3:
                table |= {"step": any_value(rng), "urgent_only": any_value(rng)}
            if rng.random() < 0.1:
                table[any_text(rng, 10) or "x"] = any_value(rng)
            if rng.random() < 0.1:
                table[rng.choice(("name", "url"))] = rng.choice((1, True, [], ""))
            if rng.random() < 0.02:
                table["url"] = CANARY
            lines = (
                f"{name} = {_toml_value(value, rng)}" for name, value in table.items() if name.isidentifier()
            )
            entries.append("[[channel]]\n" + "\n".join(lines))
        data = "\n".join(entries).encode("utf-8", "surrogatepass")
        if rng.random() < 0.2 and CANARY.encode() not in (changed := spoiled(data, rng, 3)):
            return changed
        if rng.random() < 0.01:
            return b"channel = " + b"[" * 50_000
        return data

    @override
    def feed(self, given: bytes) -> str:
        file = self.folder / "channels.toml"
        file.write_bytes(given)
        file.chmod(0o600)
        try:
            for settings in read_channels(file):
                Channel(settings).check()
        except ConfigError as error:
            return str(error)
        return ""
