"""Configuration: the models, and what reads them from file, environment and flags."""

from monitor.config.load import DEFAULT_PATH, Flag, Loaded, fields, load_config
from monitor.config.schema import (
    CaptureConfig,
    Config,
    DetectConfig,
    EventsConfig,
    JsonlConfig,
    LogConfig,
    MqttConfig,
    ServiceConfig,
)

__all__ = [
    "DEFAULT_PATH",
    "CaptureConfig",
    "Config",
    "DetectConfig",
    "EventsConfig",
    "Flag",
    "JsonlConfig",
    "Loaded",
    "LogConfig",
    "MqttConfig",
    "ServiceConfig",
    "fields",
    "load_config",
]
