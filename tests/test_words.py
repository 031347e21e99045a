import pytest

from monitor.words import count, length, plain, rough_length


@pytest.mark.parametrize(
    ("seconds", "exact", "rough"),
    [
        (0, "0 s", "0 s"),
        (0.6, "1 s", "1 s"),
        (40, "40 s", "40 s"),
        (59.4, "59 s", "59 s"),
        (59.7, "1 min 00 s", "1 min"),
        (95, "1 min 35 s", "2 min"),
        (3599, "59 min 59 s", "1 h 00 min"),
        (3600, "1 h 00 min", "1 h 00 min"),
        (12_345, "3 h 26 min", "3 h 26 min"),
    ],
)
def test_lengths(seconds, exact, rough):
    assert (length(seconds), rough_length(seconds)) == (exact, rough)


def test_counts():
    assert [count(number, "episode") for number in (0, 1, 2)] == ["0 episodes", "1 episode", "2 episodes"]


def test_what_somebody_wrote_is_one_harmless_line_and_not_endless():
    assert plain("grün \x1b[31m\n\u202e\udcff") == r"grün \x1b[31m\n\u202e\udcff"
    assert plain("x" * 400) == "x" * 300 + "…"
    assert plain("x" * 400, None) == "x" * 400
