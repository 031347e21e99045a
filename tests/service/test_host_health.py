from dataclasses import replace

import pytest

from monitor.service.host_health import HostLimits, host_troubles
from monitor.service.trouble import State
from monitor.service.vitals import FolderVitals, Vitals

FINE = Vitals(
    at_s=100.0, cpu_temperature_c=55.0, memory_mb=100.0, folder=FolderVitals(900.0, read_only=False)
)
LIMITS = HostLimits(memory_mb=300.0)


def reasons(vitals: Vitals, now_s: float = 101.0) -> list[str]:
    troubles = list(host_troubles(vitals, now_s, LIMITS))
    assert all(trouble.state is State.DEGRADED for trouble in troubles)
    return [trouble.reason for trouble in troubles]


def test_a_machine_that_is_well_gives_no_trouble():
    assert reasons(FINE) == []
    assert reasons(replace(FINE, folder=None, cpu_temperature_c=None)) == []


@pytest.mark.parametrize(
    ("vitals", "words"),
    [
        (replace(FINE, cpu_temperature_c=80.0), "hotter than 80 degrees"),
        (replace(FINE, under_voltage=True), "under-voltage"),
        (replace(FINE, throttled=True), "slowed down"),
        (replace(FINE, memory_mb=301.0), "more than 300 MB of memory"),
        (replace(FINE, open_files=0.95), "no file can be opened"),
        (replace(FINE, changed_files=("The gate is gone.",)), "The gate is gone."),
        (replace(FINE, folder=FolderVitals(0.2, read_only=False)), "is full"),
        (replace(FINE, folder=FolderVitals(49.0, read_only=False)), "less than 50 MB left"),
        (replace(FINE, folder=FolderVitals(0.0, read_only=True)), "read-only"),
        (
            replace(FINE, folder=FolderVitals(900.0, read_only=False, fault="It was deleted.")),
            "It was deleted.",
        ),
    ],
)
def test_each_limit_has_its_own_sentence(vitals, words):
    (reason,) = reasons(vitals)
    assert words in reason


def test_readings_that_do_not_come_tell_of_a_dead_disk():
    assert "does not answer" in reasons(FINE, now_s=121.0)[0]


def test_heat_explains_the_throttling_that_it_causes():
    assert len(reasons(replace(FINE, cpu_temperature_c=85.0, throttled=True))) == 1
