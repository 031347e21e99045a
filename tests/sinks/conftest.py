from tests.broker import mosquitto

__all__ = ["mosquitto"]
