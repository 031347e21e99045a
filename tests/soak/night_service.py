"""The service of the accelerated nights, a process of its own: it imports what the daemon does and no more.

``python -m tests.soak.night_service PLAN`` plays the recordings that ``PLAN`` (JSON) names; its account lies
beside the plan afterwards.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from monitor.log import configure_logging  # isort: skip  # first: it keeps rich out of the process
from monitor.config import Flag, load_config
from monitor.heap import share_arenas
from monitor.service.app import build_service
from monitor.service.state_folder import open_state_folder, state_path
from monitor.types import DetectorOutput, EpisodeEnded, EpisodeStarted
from tests.soak.playlist import Playlist


def serve(plan: Path) -> int:
    share_arenas()
    given = json.loads(plan.read_text())
    configure_logging("warning", "json")
    flags = [Flag(key, value, "the soak") for key, value in given["settings"]]
    config = load_config(None, flags=flags).config
    source = Playlist([Path(name) for name in given["files"]])
    state = open_state_folder(state_path(config.service.state_dir, config.device.id, os.environ))
    with (plan.parent / "episodes.jsonl").open("w") as told:

        def on_output(output: DetectorOutput) -> None:
            if isinstance(output, EpisodeStarted | EpisodeEnded):
                kind = "started" if isinstance(output, EpisodeStarted) else "ended"
                line = {"kind": kind, "onset": output.onset, "detected": output.detected}
                told.write(json.dumps(line | ({"offset": output.offset} if kind == "ended" else {})) + "\n")

        service = build_service(config, source=source, on_output=on_output, state=state)
        code = service.run()
    snapshot = service.snapshot()
    account = {
        "delivered": snapshot.source.samples,
        "lost": snapshot.source.lost_samples,
        "heard_s": snapshot.detector.position_s,
        "gap_s": snapshot.detector.gap_s,
        "begins": source.begins,
    }
    (plan.parent / "account.json").write_text(json.dumps(account))
    return code


if __name__ == "__main__":
    sys.exit(serve(Path(sys.argv[1])))
