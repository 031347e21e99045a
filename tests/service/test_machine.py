from pathlib import Path

import pytest

from monitor.service.machine import MACHINE_ID, MODEL, SERIAL, THERMAL_ZONE, Machine, Power


def lay(root, path, content):
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content)


def test_a_pi_says_what_it_is_and_how_warm(tmp_path):
    lay(tmp_path, MODEL, "Raspberry Pi 4 Model B Rev 1.4\0")
    lay(tmp_path, SERIAL, "10000000abcdef01\0")
    lay(tmp_path, THERMAL_ZONE, "48312\n")
    machine = Machine(tmp_path)
    assert machine.model == "Raspberry Pi 4 Model B Rev 1.4"
    assert machine.serial == "10000000abcdef01"
    assert machine.cpu_temperature_c() == 48.312


def test_another_machine_is_told_apart_without_showing_its_machine_id(tmp_path):
    lay(tmp_path, MACHINE_ID, "0123456789abcdef0123456789abcdef\n")
    machine = Machine(tmp_path)
    assert machine.model is None
    assert machine.cpu_temperature_c() is None
    assert machine.serial is not None
    assert machine.serial not in "0123456789abcdef0123456789abcdef"
    assert Machine(tmp_path).serial == machine.serial


def test_a_machine_that_says_nothing_is_no_error(tmp_path):
    machine = Machine(tmp_path)
    assert (machine.model, machine.serial, machine.cpu_temperature_c()) == (None, None, None)


def network(root, name, address, *, built_in=True, hardware=True):
    lay(root, Path("sys/class/net") / name / "address", f"{address}\n")
    lay(root, Path("sys/class/net") / name / "addr_assign_type", "0\n" if built_in else "3\n")
    if hardware:
        (root / "sys/class/net" / name / "device").mkdir()


def test_a_cloned_card_in_another_machine_has_another_key(tmp_path):
    keys = set()
    for name, lay_out in {
        "first pi": lambda root: lay(root, SERIAL, "10000000abcdef01\0"),
        "second pi": lambda root: lay(root, SERIAL, "10000000abcdef02\0"),
        "first pc": lambda root: network(root, "eth0", "aa:bb:cc:00:00:01"),
        "second pc": lambda root: network(root, "eth0", "aa:bb:cc:00:00:02"),
    }.items():
        lay(tmp_path / name, MACHINE_ID, "0123456789abcdef0123456789abcdef\n")
        lay_out(tmp_path / name)
        key = Machine(tmp_path / name).key
        assert key == Machine(tmp_path / name).key
        assert key is not None
        assert "abcdef" not in key
        keys.add(key)
    assert len(keys) == 4


def test_what_comes_and_goes_with_containers_is_not_the_key(tmp_path):
    lay(tmp_path, MACHINE_ID, "0123456789abcdef0123456789abcdef\n")
    network(tmp_path, "eth0", "bb:00:00:00:00:01")
    before = Machine(tmp_path).key
    network(tmp_path, "docker0", "aa:00:00:00:00:01", built_in=False, hardware=False)
    network(tmp_path, "veth1", "aa:00:00:00:00:02", hardware=False)
    network(tmp_path, "lo", "00:00:00:00:00:00")
    assert Machine(tmp_path).key == before


def test_a_machine_without_serial_and_network_has_the_key_of_its_machine_id(tmp_path):
    lay(tmp_path, MACHINE_ID, "0123456789abcdef0123456789abcdef\n")
    assert Machine(tmp_path).key is not None
    assert Machine(tmp_path / "elsewhere").key is None


@pytest.mark.parametrize(
    ("flags", "power"),
    [
        ("0", Power()),
        ("50000", Power()),  # it has been so, and is over
        ("1", Power(under_voltage=True)),
        ("50005", Power(under_voltage=True, throttled=True)),
        ("80008", Power(throttled=True)),
        ("nonsense", Power()),
    ],
)
@pytest.mark.parametrize("place", ["soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware"])
def test_the_firmware_s_flags_tell_of_weak_power(tmp_path, flags, power, place):
    lay(tmp_path, Path("sys/devices/platform") / place / "get_throttled", f"{flags}\n")
    assert Machine(tmp_path).power() == power


def test_the_kernel_s_alarm_tells_of_weak_power_and_another_sensor_s_does_not(tmp_path):
    lay(tmp_path, Path("sys/class/hwmon/hwmon0/name"), "rpi_volt\n")
    lay(tmp_path, Path("sys/class/hwmon/hwmon0/in0_lcrit_alarm"), "0\n")
    lay(tmp_path, Path("sys/class/hwmon/hwmon1/name"), "other\n")
    lay(tmp_path, Path("sys/class/hwmon/hwmon1/in0_lcrit_alarm"), "1\n")
    assert Machine(tmp_path).power() == Power()
    lay(tmp_path, Path("sys/class/hwmon/hwmon0/in0_lcrit_alarm"), "1\n")
    assert Machine(tmp_path).power() == Power(under_voltage=True)
