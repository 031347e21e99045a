"""What holds for all tests."""

import itertools
import logging
import os
from collections.abc import Iterator

import hypothesis
import pytest
import structlog

_number = itertools.count()

_LONGEST = (
    "test_release.py",
    "test_no_more_threads.py",
    "test_pipeline.py",
    "test_faults.py",
    "test_fuzz.py",
    "test_wheel.py",
    "test_live.py",
    "test_nights.py",
    "test_command.py",
    "test_run.py",
)

# Tests run side by side: a library that takes all cores for one of them starves the others. NumPy and torch
# read these when they are imported, and so do the programs that tests start.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

# How long an example takes says more of what else the machine does than of the code.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: one that came last would keep a single worker busy."""
    rank = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture(autouse=True)
def _state_stays_with_the_test(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A monitor that a test starts keeps nothing in a home, nor for the next test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / f"state-{next(_number)}"))


@pytest.fixture(autouse=True, scope="session")
def _no_sound_daemon_starts_by_itself(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two processes that ask the client of PulseAudio at once would both start its daemon."""
    file = tmp_path_factory.mktemp("pulse") / "client.conf"
    file.write_text("autospawn = no\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PULSE_CLIENTCONFIG", str(file))
        yield


@pytest.fixture(autouse=True)
def _logging_is_put_back() -> Iterator[None]:
    """A test that sets up logging must not leave the next one a closed stream."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
