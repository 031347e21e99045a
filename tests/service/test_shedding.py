from monitor.service.shedding import FIRST_PATIENCE_S, LAST_PATIENCE_S, LoadShedder, Shed


def after(shedder: LoadShedder, from_s: int, to_s: int, lag_s: float) -> Shed:
    for now_s in range(from_s, to_s):
        shedder.observe(float(now_s), lag_s)
    return shedder.shed


def test_cause_goes_first_then_levels_then_the_verifier_and_never_more():
    shedder = LoadShedder()
    seen = [shedder.observe(now_s / 2, 3.0) for now_s in range(40)]
    assert list(dict.fromkeys(seen)) == [Shed.CAUSE, Shed.LEVELS, Shed.VERIFIER]
    assert (
        Shed.VERIFIER.words == "the likely cause, level reports and the second opinion against false alarms"
    )
    assert (Shed.CAUSE.words, Shed.NOTHING.words) == ("the likely cause", "")


def test_a_moment_s_lag_costs_nothing():
    shedder = LoadShedder()
    assert after(shedder, 0, 100, 1.4) is Shed.NOTHING


def test_one_step_is_taken_back_at_a_time_behind_a_while_without_lag():
    shedder = LoadShedder()
    after(shedder, 0, 10, 3.0)
    assert after(shedder, 10, 10 + int(FIRST_PATIENCE_S), 0.2) is Shed.VERIFIER
    assert after(shedder, 40, 42, 0.2) is Shed.LEVELS
    assert after(shedder, 42, 140, 0.2) is Shed.NOTHING


def test_a_machine_that_is_always_too_slow_does_not_swing_to_and_fro():
    shedder = LoadShedder()
    changes, before = 0, Shed.NOTHING
    for now_s in range(8 * 3600):
        # Too slow with everything, in time without the cause.
        lag_s = 3.0 if shedder.shed is Shed.NOTHING and now_s > 5 else 0.2
        shed = shedder.observe(float(now_s), lag_s)
        changes, before = changes + (shed is not before), shed
    assert changes < 2 * (8 * 3600 / LAST_PATIENCE_S + 8)
