"""Sentences about a name that cannot be found. What the resolver says is made by hand here."""

import socket

import pytest

from monitor.sinks.mqtt_faults import unreachable
from monitor.sinks.mqtt_settings import MqttSettings

NO_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
NO_SERVER = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.mark.parametrize("error", [NO_NAME, NO_SERVER])
@pytest.mark.parametrize("host", ["homeassistant.local", "HOMEASSISTANT.LOCAL."])
def test_a_local_name_needs_multicast_dns(host, error):
    said = str(unreachable(MqttSettings(host, "nursery"), error))
    assert said == (
        f'The name "{host}" of the MQTT broker is unknown. Names in .local need multicast DNS: install '
        "avahi-daemon and libnss-mdns, or set mqtt.host to the broker's IP address."
    )


def test_a_name_that_nobody_knows_and_a_server_that_does_not_answer_are_two_things():
    settings = MqttSettings("broker.lan", "nursery")
    assert "Check mqtt.host" in str(unreachable(settings, NO_NAME))
    assert "no name server answers. Check the network" in str(unreachable(settings, NO_SERVER))
