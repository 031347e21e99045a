"""Pictures of what a parent sees in Home Assistant, with a recording of a nursery played to the real service.

    python -m tests.hub.pictures FOLDER [--rounds 6]

Each round plays the demonstration's recording once (70 s), so that the graphs have something to show.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import soundfile

from tests.hub.blueprints import cry_alert, morning_report, supervision_alert
from tests.hub.home_assistant import MISSING
from tests.hub.house import CRYING, NURSERY, House
from tests.hub.page import ABSENT, Browser

DASHBOARD = "/cradlewatch-nursery/tonight"


def take(house: House, folder: Path, *, rounds: int = 1) -> None:
    """Play, then take the pictures while the baby cries, and one when it is calm again."""
    recording, _ = soundfile.read(NURSERY, dtype="int16")
    for _ in range(rounds):
        house.microphone.feed(recording)
    with Browser(house.hub) as browser:
        with house.crying():
            house.hub.wait_for(CRYING, lambda state: state["attributes"].get("cause"))
            browser.shoot(DASHBOARD, folder / "dashboard.png", shows="Crying since", height=840)
            browser.shoot(
                DASHBOARD,
                folder / "dashboard-phone.png",
                shows="Crying since",
                width=412,
                height=915,
                dark=True,
            )
            device = f"/config/devices/device/{house.hub.device_of(CRYING)}"
            browser.shoot(device, folder / "device.png", shows="Detected", height=1250)
        house.wait_until_calm()
        browser.shoot(DASHBOARD, folder / "dashboard-calm.png", shows="Clear", height=840)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.hub.pictures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args(argv)
    if absent := MISSING or ABSENT:
        print(absent)
        return 2
    with tempfile.TemporaryDirectory(prefix="house-") as folder:
        automations = [cry_alert(), supervision_alert(), morning_report()]
        with House(Path(folder), automations) as house:
            take(house, options.folder, rounds=options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
