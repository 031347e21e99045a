"""What the capture child opens: which device, which rates, how many channels."""

import struct
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from monitor.capture.child import (
    RefusedError,
    channels_to_open,
    choose,
    has_sound_server,
    open_stream,
    rates_to_try,
)
from monitor.capture.ring import RingReader, ring_bytes


def device(index: int, name: str, **changes: Any) -> dict[str, Any]:
    values = {"host_api": "ALSA", "channels": 2, "default_rate_hz": 44_100, "is_default": index == 1}
    return {"index": index, "name": name, **values, **changes}


DEVICES = [
    device(0, "USB PnP Sound Device: Audio (hw:1,0)"),
    device(1, "default"),
    device(2, "sysdefault"),
    device(5, "USB Camera: Audio (hw:2,0)"),
]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [(None, 1), (0, 0), (5, 5), ("usb pnp", 0), ("CAMERA", 5), ("default", 1), ("sysdef", 2)],
)
def test_a_device_is_chosen_by_index_name_or_part_of_it(wanted: str | int | None, index: int) -> None:
    assert choose(DEVICES, wanted)["index"] == index


@pytest.mark.parametrize("wanted", [3, "Blue Yeti"])
def test_an_unknown_device_is_refused_with_the_list(wanted: str | int) -> None:
    with pytest.raises(RefusedError, match=r"USB PnP.*sysdefault") as refused:
        choose(DEVICES, wanted)
    assert refused.value.code == "not_found"


@pytest.mark.parametrize(
    ("wanted", "index"),
    [("USB PnP Sound Device: Audio (hw:3,0)", 0), ("USB Camera: Audio (hw:1,0)", 5), ("plughw:9,0", None)],
)
def test_a_card_that_was_plugged_in_anew_is_known_by_its_name(wanted: str, index: int | None) -> None:
    if index is None:
        with pytest.raises(RefusedError):
            choose(DEVICES, wanted)
    else:
        assert choose(DEVICES, wanted)["index"] == index


def test_a_name_that_fits_two_devices_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"USB PnP.*USB Camera") as refused:
        choose(DEVICES, "usb")
    assert refused.value.code == "ambiguous"


@pytest.mark.parametrize(
    ("name", "host_api", "first"),
    [
        ("USB PnP Sound Device: Audio (hw:1,0)", "ALSA", 16_000),
        ("pulse", "ALSA", 16_000),
        ("pipewire", "ALSA", 16_000),
        ("Built-in microphone", "JACK Audio Connection Kit", 16_000),
        ("default", "ALSA", 48_000),
        ("sysdefault", "ALSA", 48_000),
    ],
)
def test_only_good_converters_are_asked_for_16_khz_first(name: str, host_api: str, first: int) -> None:
    rates = rates_to_try(device(0, name, host_api=host_api), None, sound_server=False)
    assert rates[0] == first
    assert len(rates) == len(set(rates))
    assert {16_000, 44_100, 48_000} <= set(rates)


def test_default_is_asked_for_16_khz_where_a_sound_server_stands_behind_it(tmp_path: Path) -> None:
    assert not has_sound_server({"XDG_RUNTIME_DIR": str(tmp_path)})
    (tmp_path / "pipewire-0").touch()
    assert has_sound_server({"XDG_RUNTIME_DIR": str(tmp_path)})
    assert has_sound_server({"PULSE_SERVER": "unix:/somewhere"})
    assert rates_to_try(device(0, "default"), None, sound_server=True)[0] == 16_000
    assert rates_to_try(device(0, "sysdefault"), None, sound_server=True)[0] == 48_000


def test_a_configured_rate_is_the_only_one_tried() -> None:
    assert rates_to_try(DEVICES[0], 32_000, sound_server=True) == [32_000]


@pytest.mark.parametrize(
    ("offered", "channel", "channels", "opened"),
    [(1, 0, None, 1), (2, 0, None, 2), (32, 0, None, 2), (6, 4, None, 5), (6, 1, 6, 6), (2, 0, 1, 1)],
)
def test_at_least_two_channels_are_opened_so_that_none_is_a_mix(
    offered: int, channel: int, channels: int | None, opened: int
) -> None:
    assert channels_to_open(device(0, "a", channels=offered), channel, channels) == opened


@pytest.mark.parametrize(("channel", "channels"), [(2, None), (0, 3)])
def test_more_channels_than_there_are_is_refused(channel: int, channels: int | None) -> None:
    with pytest.raises(RefusedError, match="has 2") as refused:
        channels_to_open(DEVICES[0], channel, channels)
    assert refused.value.code == "too_few_channels"


class PortAudioError(Exception):
    """As sounddevice has it: text, code."""


def hardware(channels: int, rate_hz: int) -> Any:
    """A sounddevice whose only device has these channels and this rate, and converts nothing.

    A started stream delivers one frame: 0, 1, 2 and so on, the number of the channel.
    """

    class RawInputStream:
        def __init__(self, **wanted: Any) -> None:
            if wanted["channels"] != channels:
                raise PortAudioError("Invalid number of channels", -9998)
            if wanted["samplerate"] != rate_hz:
                raise PortAudioError("Invalid sample rate", -9997)
            self.callback = wanted["callback"]

        def start(self) -> None:
            self.callback(struct.pack(f"{channels}h", *range(channels)), 1, None, None)

    return SimpleNamespace(RawInputStream=RawInputStream, PortAudioError=PortAudioError)


SETTINGS = {"channel": 1, "channels": None, "rate_hz": None, "block_s": 0.02, "latency_s": 0.1}
ARRAY = device(0, "seeed-4mic-voicecard: (hw:1,0)", channels=4)


@pytest.mark.parametrize("channels", [None, 3])
def test_an_array_that_offers_only_all_its_channels_is_opened_with_all(channels: int | None) -> None:
    memory = bytearray(ring_bytes(8))
    settings = {**SETTINGS, "channels": channels}
    opened = open_stream(hardware(4, 48_000), ARRAY, settings, memory, threading.Event())
    assert opened[1:] == (48_000, 4)
    reader = RingReader(memory)
    assert (reader.rate_hz, reader.read(8)) == (48_000, (0, struct.pack("h", 1)))


def test_a_device_that_also_refuses_all_its_channels_is_refused() -> None:
    memory = bytearray(ring_bytes(8))
    with pytest.raises(RefusedError, match=r"4mic.* refuses to be opened with 2 and 4") as refused:
        open_stream(hardware(6, 48_000), ARRAY, SETTINGS, memory, threading.Event())
    assert refused.value.code == "no_channel_count"


def test_a_device_that_refuses_every_rate_with_all_its_channels_is_refused_for_its_rate() -> None:
    memory = bytearray(ring_bytes(8))
    with pytest.raises(RefusedError, match="every sample rate tried: 16000, 44100") as refused:
        open_stream(hardware(4, 96_000), ARRAY, SETTINGS, memory, threading.Event())
    assert refused.value.code == "no_rate"
