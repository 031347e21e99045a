"""All that is tried. Each gets its share of the sum."""

from __future__ import annotations

from tests.fuzz.audio_target import PcmTarget, RecordingTarget, ScanTarget
from tests.fuzz.broker_target import BrokerTarget
from tests.fuzz.channels_target import ChannelsTarget
from tests.fuzz.command_target import CommandTarget, WireTarget
from tests.fuzz.config_target import ConfigTarget
from tests.fuzz.history_target import HistoryTarget
from tests.fuzz.models_target import ManifestTarget, ModelFileTarget
from tests.fuzz.socket_target import CallbackTarget, StatusAnswerTarget, StatusServerTarget
from tests.fuzz.sqlite_target import OutboxTarget
from tests.fuzz.state_target import StateTarget
from tests.fuzz.target import Target

TARGETS: list[type[Target]] = [
    ConfigTarget,
    CommandTarget,
    WireTarget,
    BrokerTarget,
    RecordingTarget,
    ScanTarget,
    PcmTarget,
    StateTarget,
    OutboxTarget,
    HistoryTarget,
    StatusServerTarget,
    StatusAnswerTarget,
    CallbackTarget,
    ChannelsTarget,
    ManifestTarget,
    ModelFileTarget,
]
