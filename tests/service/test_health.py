from dataclasses import replace

import pytest

from monitor.capture.source import SourceState
from monitor.detect.pipeline import PipelineStats
from monitor.events.bus import QueueStats
from monitor.service.detector import DetectorStats
from monitor.service.health import HealthTracker, Limits, Snapshot, State, counters, is_alive
from monitor.service.shedding import Shed
from monitor.service.signal_watch import SignalStats
from monitor.service.vitals import Vitals
from monitor.service.worker import WorkerStats
from tests.service.scripted import RUNNING

DETECTOR = DetectorStats(
    turned_age_s=0.0,
    position_s=60.0,
    gaps=0,
    gap_s=0.0,
    last_gap_age_s=None,
    episodes=0,
    signal=SignalStats(),
    slowest_step_s=0.004,
    busy_s=0.5,
    pipeline=PipelineStats(hops=250, awake_hops=20, wakings=3),
    listening=True,
)
QUEUE = QueueStats(depth=0, oldest_age_s=0.0, superseded=0, dropped=0, lost_alerts=0)
WORKER = WorkerStats(name="mqtt", delivered=3, retries=0, dropped=0, fault="", queue=QUEUE)
FINE = Snapshot(now_s=100.0, source=RUNNING, detector=DETECTOR, workers=(WORKER,))


def signal(**values) -> Snapshot:
    """A snapshot whose signal is fine but for ``values``."""
    fine = SignalStats(heard_s=7200.0, loudest_dbfs=-30.0)
    return replace(FINE, detector=replace(DETECTOR, signal=replace(fine, **values)))


def test_switched_off_listening_is_said_for_as_long_as_it_lasts_and_is_no_fault():
    tracker = HealthTracker()
    off = tracker.update(replace(FINE, detector=replace(DETECTOR, listening=False)))
    assert (off.state, off.reasons) == (
        State.DEGRADED,
        ("Listening is switched off: no crying is reported.",),
    )
    assert off.microphone_ok
    assert off.signal_ok
    assert tracker.update(replace(FINE, now_s=101.0)).state is State.OK


def test_all_well_is_ok():
    health = HealthTracker().update(FINE)
    assert health.state is State.OK
    assert health.reasons == ()
    assert health.microphone_ok
    assert health.signal_ok


@pytest.mark.parametrize(
    "source",
    [
        replace(RUNNING, last_block_age_s=1.6),
        replace(RUNNING, state=SourceState.LOST, last_block_age_s=None),
        replace(RUNNING, state=SourceState.LOST, last_block_age_s=0.3, fault="it was unplugged."),
    ],
)
def test_no_audio_is_a_fault_of_the_microphone(source):
    health = HealthTracker().update(replace(FINE, source=source))
    assert health.state is State.FAULT
    assert not health.microphone_ok
    assert health.signal_ok
    (reason,) = health.reasons
    assert reason.startswith("The microphone delivers no audio: it was")


def test_digital_silence_is_a_fault_of_the_signal_and_a_quiet_second_is_none():
    short, long = signal(constant_s=9.9, constant_value=0), signal(constant_s=10.1, constant_value=0)
    stuck = signal(constant_s=10.1, constant_value=-7)
    assert HealthTracker().update(short).state is State.OK
    health = HealthTracker().update(long)
    assert (health.state, health.microphone_ok, health.signal_ok) == (State.FAULT, True, False)
    assert "digital silence" in health.reasons[0]
    assert "constant value" in HealthTracker().update(stuck).reasons[0]


def test_a_signal_that_is_distorted_degrades_and_says_what_to_do():
    clipping = signal(clipped_share=0.03, offset=0.3)
    health = HealthTracker().update(clipping)
    assert (health.state, health.microphone_ok, health.signal_ok) == (State.DEGRADED, True, False)
    assert health.reasons == ("The microphone clips: turn its gain down, with `alsamixer` for example.",)
    off_zero = signal(offset=-0.25)
    assert "far off zero" in HealthTracker().update(off_zero).reasons[0]
    stuck = signal(offset=-0.25, constant_s=11.0, constant_value=-8000)
    assert len(HealthTracker().update(stuck).reasons) == 1


def test_a_signal_whose_loudest_sounds_hardly_rise_above_the_converter_is_told_after_half_an_hour():
    assert HealthTracker().update(signal(loudest_dbfs=-73.0, heard_s=1700.0)).reasons == ()
    health = HealthTracker().update(signal(loudest_dbfs=-73.0))
    assert (health.state, health.signal_ok) == (State.DEGRADED, False)
    assert health.reasons[0].endswith("Turn its gain up, with `alsamixer` for example.")
    assert HealthTracker().update(signal(loudest_dbfs=-71.0)).reasons == ()


def test_a_source_that_gates_is_told_with_the_remedy_and_its_pauses_are_no_fault():
    tracker = HealthTracker()
    for now_s in range(100, 400):  # pauses of up to a minute, and sounds, all night
        pause_s = float(now_s % 60)
        health = tracker.update(
            replace(
                signal(gated=True, constant_s=pause_s, constant_value=0, still_s=pause_s), now_s=float(now_s)
            )
        )
        assert (health.state, health.signal_ok) == (State.DEGRADED, True)
        (reason,) = health.reasons
        assert reason.endswith("switch off its noise suppression or noise gate.")


@pytest.mark.parametrize("still", [{"gated": True, "constant_value": 0}, {}], ids=["a gate", "dither"])
def test_a_source_that_says_nothing_for_hours_is_a_fault(still):
    assert (
        HealthTracker().update(signal(still_s=7100.0, constant_s=7100.0 if still else 0.0, **still)).signal_ok
    )
    health = HealthTracker().update(signal(still_s=7300.0, constant_s=7300.0 if still else 0.0, **still))
    assert (health.state, health.signal_ok) == (State.FAULT, False)
    assert health.reasons[0].startswith("The microphone has delivered nothing but silence for two hours")


def test_what_cannot_be_kept_on_disk_degrades():
    health = HealthTracker().update(replace(FINE, state_faults=("The disk is full.",)))
    assert (health.state, health.reasons) == (State.DEGRADED, ("The disk is full.",))


def test_rates_are_those_since_the_last_report():
    later = replace(
        DETECTOR, busy_s=1.5, pipeline=PipelineStats(hops=350, awake_hops=70, wakings=5, vad_calls=30)
    )
    figures = counters(replace(FINE, detector=later, vitals=Vitals(100.0, cpu_temperature_c=48.3)), FINE)
    assert (figures["gate_rate"], figures["vad_rate"], figures["inference_ms"]) == (0.5, 0.3, 10.0)
    assert figures["cpu_temperature_c"] == 48.3
    assert counters(FINE)["gate_rate"] == 0.08
    assert not {"gate_rate", "cpu_temperature_c"} & set(counters(FINE, FINE))


@pytest.mark.parametrize("state", [SourceState.STARTING, SourceState.RUNNING])
def test_the_wait_for_the_first_audio_is_reported_and_over_with_the_first_block(state):
    tracker = HealthTracker()
    starting = replace(RUNNING, state=state, last_block_age_s=None)
    health = tracker.update(replace(FINE, source=starting))
    assert (health.state, health.microphone_ok) == (State.DEGRADED, False)
    assert tracker.update(replace(FINE, now_s=101.0)).state is State.OK


def test_a_detector_that_hangs_is_a_fault():
    health = HealthTracker().update(replace(FINE, detector=replace(DETECTOR, turned_age_s=5.1)))
    assert health.state is State.FAULT
    assert health.reasons == ("The detector does not advance.",)


def test_lost_audio_degrades_for_a_minute():
    tracker = HealthTracker()
    lost = replace(FINE, detector=replace(DETECTOR, last_gap_age_s=1.0))
    assert tracker.update(lost).reasons == ("Audio was lost within the last minute.",)
    later = replace(FINE, now_s=170.0, detector=replace(DETECTOR, last_gap_age_s=71.0))
    assert tracker.update(later).state is State.OK


def test_an_overflow_degrades_for_a_minute():
    tracker = HealthTracker()
    overflown = replace(RUNNING, overflows=1)
    tracker.update(FINE)
    assert tracker.update(replace(FINE, now_s=101.0, source=overflown)).state is State.DEGRADED
    assert tracker.update(replace(FINE, now_s=160.0, source=overflown)).state is State.DEGRADED
    assert tracker.update(replace(FINE, now_s=165.0, source=overflown)).state is State.OK


def test_a_machine_that_does_not_keep_up_is_degraded_and_recovers():
    def at(now_s: float, heard_s: float, busy_s: float) -> Snapshot:
        return replace(FINE, now_s=now_s, detector=replace(DETECTOR, position_s=heard_s, busy_s=busy_s))

    tracker = HealthTracker()
    assert tracker.update(at(0, 0, 0)).state is State.OK
    assert tracker.update(at(5, 5, 5)).state is State.OK  # too short a time to judge
    assert tracker.update(at(10, 10, 9)).reasons == ("The machine is too busy: detection may be late.",)
    assert tracker.update(at(19, 19, 9.1)).state is State.DEGRADED
    assert tracker.update(at(20, 20, 9.2)).state is State.DEGRADED  # has to stay away for a while
    assert tracker.update(at(24, 24, 9.3)).state is State.OK


def test_a_recording_played_fast_is_no_load():
    tracker = HealthTracker()
    tracker.update(replace(FINE, detector=replace(DETECTOR, position_s=0.0, busy_s=0.0)))
    fast = replace(DETECTOR, position_s=10_000.0, busy_s=10.0)
    assert tracker.update(replace(FINE, now_s=110.0, detector=fast)).state is State.OK


def test_a_sink_that_does_not_deliver_degrades_and_is_named():
    refused = replace(FINE, workers=(replace(WORKER, fault="The broker refuses us."),))
    waiting = replace(FINE, workers=(replace(WORKER, queue=replace(QUEUE, depth=2, oldest_age_s=31.0)),))
    assert HealthTracker().update(refused).reasons == ("mqtt: The broker refuses us.",)
    assert HealthTracker().update(waiting).reasons == ("mqtt: messages wait for more than 10 s.",)
    assert HealthTracker().update(waiting).microphone_ok


def test_a_fault_stays_until_it_has_stayed_away():
    tracker = HealthTracker(Limits(recovered_after_s=3.0))
    lost = replace(RUNNING, state=SourceState.LOST, fault="gone.")
    tracker.update(replace(FINE, source=lost))
    assert tracker.update(replace(FINE, now_s=102.0)).state is State.FAULT
    assert tracker.update(replace(FINE, now_s=104.0)).state is State.OK


def test_the_worst_trouble_comes_first_and_gives_the_state():
    snapshot = replace(
        FINE,
        source=replace(RUNNING, state=SourceState.LOST, fault="gone."),
        detector=replace(DETECTOR, last_gap_age_s=1.0),
    )
    health = HealthTracker().update(snapshot)
    assert health.state is State.FAULT
    assert health.reasons[0] == "The microphone delivers no audio: gone."
    assert len(health.reasons) == 2


def test_a_source_at_its_end_is_no_fault():
    ended = replace(RUNNING, state=SourceState.ENDED, last_block_age_s=99.0)
    assert HealthTracker().update(replace(FINE, source=ended)).state is State.OK


@pytest.mark.parametrize(
    ("snapshot", "alive"),
    [
        (FINE, True),
        (replace(FINE, detector=replace(DETECTOR, turned_age_s=5.1)), False),
        (replace(FINE, source=replace(RUNNING, last_block_age_s=6.6)), False),
        (replace(FINE, source=replace(RUNNING, last_block_age_s=6.4)), True),
        (replace(FINE, source=replace(RUNNING, state=SourceState.LOST, last_block_age_s=900.0)), True),
    ],
    ids=["fine", "detector hangs", "audio stays away unnoticed", "just late", "known to be lost"],
)
def test_the_watchdog_is_fed_only_while_detector_and_capture_do_their_work(snapshot, alive):
    assert is_alive(snapshot, Limits()) is alive


def test_the_counters_hold_the_figures_behind_the_judgement():
    figures = counters(FINE)
    assert figures["audio_s"] == 60.0
    assert figures["slowest_step_ms"] == 4.0
    assert figures["awake_hops"] == 20.0
    assert figures["mqtt_delivered"] == 3.0


def test_a_detector_that_is_behind_and_what_it_goes_without_are_told():
    late = replace(FINE, source=replace(RUNNING, waiting_s=2.5))
    assert HealthTracker(Limits(paced=True)).update(late).reasons == (
        "The detector is behind: alarms come late.",
    )
    assert HealthTracker().update(late).reasons == ()  # a recording at full speed is always behind
    shed = replace(FINE, detector=replace(DETECTOR, shed=Shed.LEVELS))
    (reason,) = HealthTracker().update(shed).reasons
    assert (
        reason == "The machine is too slow: to keep pace it goes without the likely cause and level reports."
    )


def test_a_microphone_at_half_the_rate_is_a_fault_of_the_signal():
    tracker = HealthTracker(Limits(paced=True))
    for now_s in range(20):
        source = replace(RUNNING, samples=8_000 * now_s)
        health = tracker.update(replace(FINE, now_s=100.0 + now_s, source=source))
    assert (health.state, health.microphone_ok, health.signal_ok) == (State.FAULT, True, False)
    assert "more or less audio than time passes" in health.reasons[0]


def test_a_clock_that_jumps_is_told_for_a_minute():
    tracker = HealthTracker()
    tracker.update(replace(FINE, now_s=100.0, utc_s=1.8e9))
    (reason,) = tracker.update(replace(FINE, now_s=101.0, utc_s=1.8e9 - 3600)).reasons
    assert reason.startswith("The clock jumped back")
    assert tracker.update(replace(FINE, now_s=170.0, utc_s=1.8e9 - 3600 + 69)).reasons == ()
