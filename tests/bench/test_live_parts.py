"""The parts of the live measurement that can be checked without running it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from models.training import mixing
from monitor.errors import ConfigError
from monitor.types import samples
from tests.bench import live_cries, process_cost
from tests.bench.live_report import spread


def test_without_data_different_cries_are_synthesised_at_the_stated_level(tmp_path, monkeypatch):
    monkeypatch.setenv("CRADLEWATCH_DATA", str(tmp_path))
    origin, cries = live_cries.live_cries(3, None, seed=1)
    assert origin.startswith("synthesised")
    assert len({cry.samples.tobytes() for cry in cries}) == 3
    for cry in cries:
        assert cry.samples.dtype == np.int16
        assert samples(live_cries.SHORTEST_S) <= len(cry.samples) <= samples(live_cries.LONGEST_S)
        heard = cry.samples.astype(np.float32) / 32768.0
        assert mixing.active_level_dbfs(heard) == pytest.approx(live_cries.CRY_DBFS, abs=1.5)
        assert mixing.active_mask(heard)[:10].any()


def test_data_that_was_asked_for_by_name_is_not_replaced(tmp_path):
    with pytest.raises(ConfigError, match="manifest"):
        live_cries.live_cries(3, tmp_path, seed=1)


def test_cpu_time_is_scaled_to_an_hour_and_shown_by_thread():
    def work() -> None:
        until = time.thread_time() + 0.2
        while time.thread_time() < until:
            pass

    begun = time.monotonic()
    [cost] = process_cost.cost_while([os.getpid()], work)
    took_s = time.monotonic() - begun
    assert cost.in_all >= 0.2 / took_s * 3600.0 * 0.9
    spent = [each for _, each in cost.threads]
    assert spent == sorted(spent, reverse=True)
    assert sum(spent) == pytest.approx(cost.in_all)


def test_children_and_memory_of_a_process_are_found():
    program = [sys.executable, "-S", "-c", "print(flush=True); input()"]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as child:
        child.stdout.readline()  # else it may not have become Python yet
        assert child.pid in process_cost.children(os.getpid())
        memory = process_cost.Memory.of(child.pid)
        assert 0.5 < memory.now_mb <= memory.peak_mb < 100.0
        child.kill()


def test_spread_shows_median_and_95th_percentile():
    assert spread(list(range(101))) == "p50 50.00 s, p95 95.00 s (0.00 to 100.00)"
