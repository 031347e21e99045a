"""The inference library must not report home. Its telemetry leaves an identifier on disk before it sends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "artifacts" / "gate" / "model.int8.onnx"
OURS = "from monitor.detect.inference import Network; from pathlib import Path; Network(Path({model!r}))"
BARE = "import onnxruntime; onnxruntime.InferenceSession({model!r})"
# Without network, or the test that shows what would be sent would send it.
CUT_OFF = ["unshare", "--user", "--net"]


def load_model(program: str, home: Path, *prefix: str) -> set[str]:
    """Names of the files that a process which loads a model leaves in its home."""
    kept = {key: value for key, value in os.environ.items() if key in {"PATH", "LD_LIBRARY_PATH"}}
    subprocess.run(
        [*prefix, sys.executable, "-c", program.format(model=str(MODEL))],
        env=kept | {"HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        timeout=60,
        capture_output=True,
    )
    return {path.name for path in home.rglob("*") if path.is_file()}


def can_be_cut_off() -> bool:
    try:
        return (
            # Root without rights does not enter another's home, where this Python may lie.
            subprocess.run(
                [*CUT_OFF, sys.executable, "-c", ""], check=False, capture_output=True, timeout=60
            ).returncode
            == 0
        )
    except FileNotFoundError:
        return False


def test_our_use_of_the_library_leaves_no_identifier(tmp_path):
    assert load_model(OURS, tmp_path) == set()


def test_the_library_alone_would(tmp_path):
    if not can_be_cut_off():
        pytest.skip("a process cannot be cut off from the network here (unshare --user --net)")
    found = load_model(BARE, tmp_path, *CUT_OFF)
    if not found:
        pytest.skip("this build of onnxruntime has no telemetry")
    assert "deviceid" in found
