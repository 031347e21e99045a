"""Configuration: the models, and what reads them from file, environment and flags."""

from monitor.config.load import DEFAULT_PATH, Flag, Loaded, fields, load_config
from monitor.config.schema import (
    Config,
    DetectConfig,
    DeviceConfig,
    EventsConfig,
    JsonlConfig,
    LogConfig,
    MicrophoneConfig,
    MqttConfig,
    PushConfig,
    ServiceConfig,
    SounderConfig,
    SourceConfig,
)

__all__ = [
    "DEFAULT_PATH",
    "Config",
    "DetectConfig",
    "DeviceConfig",
    "EventsConfig",
    "Flag",
    "JsonlConfig",
    "Loaded",
    "LogConfig",
    "MicrophoneConfig",
    "MqttConfig",
    "PushConfig",
    "ServiceConfig",
    "SounderConfig",
    "SourceConfig",
    "fields",
    "load_config",
]
