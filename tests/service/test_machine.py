from monitor.service.machine import MACHINE_ID, MODEL, SERIAL, THERMAL_ZONE, Machine


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
