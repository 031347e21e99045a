"""Messages out: MQTT with Home Assistant discovery, JSON lines, a list for tests."""
