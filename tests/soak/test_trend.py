"""The slope and its interval, on series of which the truth is known."""

import numpy as np
import pytest

from tests.soak.trend import slope


def walk(n, seed):
    """Noise of which each value is mostly the one before it, as memory is."""
    rng = np.random.default_rng(seed)
    noise = np.zeros(n)
    for k in range(1, n):
        noise[k] = 0.9 * noise[k - 1] + rng.normal()
    return noise


def test_the_slope_of_a_line_is_found_exactly():
    found = slope([0, 1, 2, 3] * 10, [5, 7, 9, 11] * 10)
    assert found.value == pytest.approx(2.0)
    assert found.low == found.high == pytest.approx(2.0)


def test_the_interval_holds_the_truth_although_neighbours_are_alike():
    x = np.arange(200) / 10
    held = sum(
        found.low <= 3.0 <= found.high
        for found in (slope(x, 3.0 * x + walk(200, seed), seed) for seed in range(60))
    )
    # 95 % would be 57; a series of twenty correlation lengths gives a little less (Kuensch 1989, section 4).
    assert held >= 49


def test_what_does_not_grow_is_flat_and_what_does_is_not():
    x = np.arange(200) / 10
    assert slope(x, np.cos(7 * x)).is_flat
    assert not slope(x, 10.0 * x + walk(200, 3)).is_flat


def test_few_measurements_are_refused():
    with pytest.raises(ValueError, match="at least 20"):
        slope([1, 2, 3], [1, 2, 3])
