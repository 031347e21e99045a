"""Every key that a user may set: unit, range, default and one line of help.

The models say what is allowed; where a value came from is the loader's business. Rooms never see
them: ``monitor.service.app`` hands each room its own settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints


@dataclass(frozen=True, slots=True)
class Rule:
    """What a text has to look like, in words."""

    words: str


Text = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$"),
    Rule("of 1 to 256 characters, on one line"),
]
Slug = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$"),
    Rule("of 1 to 32 characters out of a-z, 0-9, - and _ that begins with a letter or a digit"),
]
ClientId = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$"),
    Rule("of 1 to 64 characters out of A-Z, a-z, 0-9, - and _"),
]
Topic = Annotated[
    str,
    StringConstraints(pattern=r"^[^/#+\x00]([^#+\x00]{0,126}[^/#+\x00])?$"),
    Rule("of 1 to 128 characters without # and +, that neither begins nor ends with /"),
]
ClockTime = Annotated[
    str,
    StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$"),
    Rule('that is a time of day such as "09:30"'),
]
Listen = Annotated[
    str,
    StringConstraints(pattern=r"^([A-Za-z0-9_.-]{0,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}$"),
    Rule('that is an address and a port, "0.0.0.0:8099"'),
]
WebAddress = Annotated[
    str,
    StringConstraints(pattern=r"^https?://[^\s/,;?#]{1,255}(/[^\s,;?#]{0,200})?$"),
    Rule('that is an address such as "http://pi.local:8099"'),
]


def _key(default: Any, description: str, *, unit: str = "", example: Any = None, **bounds: Any) -> Any:
    """Declare a key. ``example`` stands in the example file where the default is 'not set'."""
    return Field(
        default=default,
        description=description,
        examples=None if example is None else [example],
        json_schema_extra={"unit": unit} if unit else None,
        **bounds,
    )


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceConfig(Section):
    """Where the audio comes from."""

    kind: Literal["microphone", "file", "stdin"] = _key(
        "microphone", "The input: a microphone, a recording, or raw 16-bit little-endian PCM on stdin."
    )
    file: Path | None = _key(
        None, 'The recording that is heard when kind = "file".', example="/var/lib/cradlewatch/night.flac"
    )
    realtime: bool = _key(
        True, "Play a recording at the speed of life; a pause in PCM on stdin is lost audio, not a wait."
    )
    channel: int = _key(
        0, "Channel of a recording or of PCM; the first is 0, channels are never mixed.", ge=0, le=63
    )
    pcm_rate_hz: int = _key(16000, "Sample rate of PCM on stdin.", unit="Hz", ge=8000, le=192000)
    pcm_channels: int = _key(1, "Number of channels in PCM on stdin.", ge=1, le=64)


class MicrophoneConfig(Section):
    """The input device."""

    device: Text | None = _key(
        None,
        "Name, part of a name or index, as `cradlewatch devices` shows them; not set: the default one.",
        example="USB Audio",
    )
    channel: int = _key(0, "Channel to listen to; the first is 0, channels are never mixed.", ge=0, le=63)
    channels: int | None = _key(
        None, "Number of channels to open; not set: as few as the channel needs.", example=2, ge=1, le=64
    )
    rate_hz: int | None = _key(
        None,
        "Sample rate to open the device at; not set: what suits it best.",
        unit="Hz",
        example=48000,
        ge=8000,
        le=192000,
    )
    latency_s: float = _key(
        0.36,
        "Audio that the sound system may hold back; less is lost sooner on a busy machine.",
        unit="s",
        ge=0.02,
        le=2,
    )
    opened_within_s: float = _key(
        6.0, "Time from opening the device to its first audio; then it is tried anew.", unit="s", ge=1, le=60
    )
    stalled_after_s: float = _key(
        1.5, "Time without audio after which the microphone counts as lost.", unit="s", ge=0.5, le=60
    )


class DetectConfig(Section):
    """When crying is called crying. Not set: as the model's own manifest says."""

    onset_threshold: float | None = _key(
        None, "Smoothed cry probability that counts towards an episode.", example=0.6, gt=0, lt=1
    )
    offset_threshold: float | None = _key(
        None, "Smoothed cry probability below which crying has stopped.", example=0.3, gt=0, lt=1
    )
    onset_hits: int | None = _key(
        None, "Steps above the onset threshold that begin an episode.", example=2, ge=1, le=50
    )
    onset_window_hops: int | None = _key(
        None,
        "Length of the window in which those steps are counted.",
        unit="steps of 240 ms",
        example=4,
        ge=1,
        le=50,
    )
    patient: bool = _key(
        True, "Let longer, less certain crying begin an episode too; off, only sudden clear crying does."
    )
    hang_over_s: float | None = _key(
        None, "Quiet that ends an episode; shorter pauses are breath.", unit="s", example=8.0, ge=0.5, le=300
    )
    cool_down_s: float | None = _key(
        None, "Time after an episode in which none begins.", unit="s", example=5.0, ge=0, le=3600
    )
    update_every_s: float = _key(
        5.0, "Time between updates of an episode that goes on.", unit="s", ge=1, le=600
    )
    vad_mode: int = _key(
        2, "Strictness of the voice detector that wakes the gate model; 0 wakes it most.", ge=0, le=3
    )
    level_margin_db: float = _key(
        5.0,
        "Rise above the room's own noise, in any narrow band, that wakes the gate model without a voice.",
        unit="dB",
        ge=0,
        le=40,
    )
    always_awake: bool = _key(False, "Run the gate model on every step: more work, nothing slept through.")
    artifacts: Path | None = _key(
        None, "Folder with other models; not set: those that came with the program.", example="/opt/models"
    )
    model_form: Literal["auto", "int8", "float"] = _key(
        "auto", "Arithmetic of the gate model; auto times both at the start and takes the faster."
    )
    classify: bool = _key(True, "Estimate the likely cause of an episode after it was reported.")


class MqttConfig(Section):
    """The broker and Home Assistant."""

    host: Text | None = _key(
        None, "Host name or address of the broker; not set: no MQTT.", example="homeassistant.local"
    )
    port: int | None = _key(
        None, "Port of the broker; not set: 1883, with TLS 8883.", example=1883, ge=1, le=65535
    )
    username: Text | None = _key(None, "User name at the broker.", example="cradlewatch")
    password: SecretStr | None = _key(
        None, "Password at the broker; only from the environment, in a file use password_file."
    )
    password_file: Path | None = _key(
        None,
        "File that holds the password; a bare name is looked up among the systemd credentials first.",
        example="mqtt-password",
    )
    client_id: ClientId | None = _key(
        None,
        "Client name at the broker; not set: made of the device.id and a key of the machine.",
        example="cradlewatch-nursery",
    )
    protocol: Literal["auto", "5", "3.1.1"] = _key(
        "auto", "MQTT version; auto tries 5 and falls back to 3.1.1."
    )
    tls: bool = _key(False, "Encrypt the connection and verify the broker's certificate.")
    ca_file: Path | None = _key(
        None,
        "Certificates that are trusted; not set: those of the system.",
        example="/etc/cradlewatch/ca.crt",
    )
    cert_file: Path | None = _key(
        None, "Our own certificate, where the broker asks for one.", example="/etc/cradlewatch/client.crt"
    )
    key_file: Path | None = _key(None, "Key of our own certificate.", example="/etc/cradlewatch/client.key")
    keepalive_s: int = _key(
        15,
        "Time between signs of life; the broker calls us offline after 1.5 of them.",
        unit="s",
        ge=5,
        le=3600,
    )
    event_expiry_s: int = _key(
        300,
        "Age at which a cry is no longer reported, so that no old alarm fires late.",
        unit="s",
        ge=10,
        le=86400,
    )
    base_topic: Topic = _key("cradlewatch", "First part of all our topics.")
    discovery: bool = _key(True, "Announce the entities to Home Assistant.")
    discovery_prefix: Topic = _key("homeassistant", "Home Assistant's discovery prefix.")
    birth_topic: Topic = _key(
        "homeassistant/status", "Topic on which Home Assistant says that it has started."
    )


class DeviceConfig(Section):
    """What this monitor is called."""

    id: Slug = _key(
        "cradlewatch",
        "Its identity in topics and messages; a new one is a new device to the hub. Not set: with four "
        "characters that differ by machine.",
    )
    name: Text = _key("Cradlewatch", "Name of this monitor in Home Assistant, the room for example.")
    area: Text | None = _key(None, "Area that Home Assistant suggests for this monitor.", example="Nursery")


class EventsConfig(Section):
    """When crying escalates, and how often level and score are reported."""

    escalate_every_s: float = _key(
        60.0,
        "Crying within one episode after which it escalates, and escalates again.",
        unit="s",
        ge=10,
        le=3600,
    )

    acknowledged_for_s: float = _key(
        1200.0,
        "Crying that may follow an acknowledgement before somebody is asked again.",
        unit="s",
        ge=60,
        le=86400,
    )
    active_every_s: float = _key(
        1.0, "Time between reports of level and score while something is heard.", unit="s", ge=0.24, le=3600
    )
    calm_every_s: float = _key(
        10.0, "Time between reports of level and score while the room is calm.", unit="s", ge=0.24, le=3600
    )


class JsonlConfig(Section):
    """Messages as lines of JSON."""

    path: Path | None = _key(
        None,
        "File that every message is appended to, - for stdout; not set: none.",
        example="/var/lib/cradlewatch/events.jsonl",
    )


class PushConfig(Section):
    """Alerts straight to phones, without a hub; needs `pip install 'cradlewatch[push]'`."""

    channels_file: Path | None = _key(
        None,
        "File that names the channels, with their secrets; a bare name is looked up among the systemd "
        "credentials first. Each has a [[channel]] with name, url (as Apprise writes it) and, if wanted, "
        "step and urgent_only. Not set: no direct push.",
        example="push-channels.toml",
    )
    after_s: float = _key(
        0.0, "Crying within one episode after which somebody is told.", unit="s", ge=0, le=600
    )
    next_step_after_s: float = _key(
        120.0,
        "Time without an acknowledgement after which the channels of the next step are told as well.",
        unit="s",
        ge=10,
        le=3600,
    )
    repeat_every_s: float = _key(
        60.0,
        "Time between repetitions until somebody acknowledges or the crying ends.",
        unit="s",
        ge=15,
        le=3600,
    )
    fault_after_s: float = _key(
        30.0, "Time after which a lost microphone or hub is told.", unit="s", ge=5, le=3600
    )
    daily_test: ClockTime | None = _key(
        None, "Local time of a daily test alert; a day without one says that alerts fail.", example="12:00"
    )
    callback_listen: Listen | None = _key(
        None,
        "Where acknowledgements from phones are heard; not set: nowhere. An empty host is every address.",
        example="0.0.0.0:8099",
    )
    callback_url: WebAddress | None = _key(
        None, "How a phone reaches that place.", example="http://cradlewatch.local:8099"
    )


class SounderConfig(Section):
    """A speaker at the monitor that sounds when an alert reaches neither hub nor phone."""

    enabled: bool = _key(
        False,
        "Sound when nobody can be told otherwise: three beeps every 12 s, and the baby is heard between.",
    )
    device: Text | None = _key(
        None, "Name, part of a name or index of the output; not set: the default one.", example="USB Audio"
    )
    after_s: float = _key(
        30.0, "Time in which hub or phone have to be reached before it sounds.", unit="s", ge=5, le=600
    )
    volume: float = _key(0.8, "Peak of the tone; 1 is as loud as the output allows.", gt=0, le=1)
    tone_hz: float = _key(880.0, "Pitch of the tone.", unit="Hz", ge=200, le=4000)


class LogConfig(Section):
    """What is written to the journal or the terminal (always on stderr)."""

    level: Literal["debug", "info", "warning", "error"] = _key("info", "The least important line written.")
    format: Literal["auto", "console", "logfmt", "json"] = _key(
        "auto", "Form of a line; auto is console on a terminal and logfmt elsewhere."
    )


class ServiceConfig(Section):
    """Health, watchdog and stopping."""

    stop_timeout_s: float = _key(
        8.0, "Time in which everything has to be delivered and stopped.", unit="s", ge=1, le=60
    )
    heartbeat_s: float = _key(
        30.0, "Time between health messages while nothing changes.", unit="s", ge=5, le=3600
    )
    silent_after_s: float = _key(
        10.0,
        "Digital silence, or one constant value, after which the microphone is called faulty.",
        unit="s",
        ge=2,
        le=3600,
    )
    hot_c: float = _key(
        80.0, "Temperature of the processor that is reported as too hot.", unit="°C", ge=40, le=120
    )
    disk_low_mb: float = _key(
        50.0, "Space on the disk of the state folder below which it is reported.", unit="MB", ge=1, le=100000
    )
    memory_mb: float = _key(
        300.0,
        "Memory that the monitor may take; above, it says so and, under a service manager, restarts when "
        "nobody cries.",
        unit="MB",
        ge=100,
        le=100000,
    )
    state_dir: Path | None = _key(
        None,
        "Folder for settings made in the hub and for events not yet delivered; not set: what systemd gives, "
        "else ~/.local/state/cradlewatch.",
        example="/var/lib/cradlewatch",
    )
    queue_length: int = _key(
        256,
        "Messages kept for a sink that cannot deliver; level reports give way first.",
        unit="messages",
        ge=16,
        le=65536,
    )


class HistoryConfig(Section):
    """What is remembered of each night, for `cradlewatch report`. No audio."""

    enabled: bool = _key(True, "Remember episodes, levels per minute, faults and alerts in the state folder.")
    keep_days: int = _key(90, "Age at which a night is forgotten.", unit="days", ge=1, le=3650)
    max_mb: int = _key(
        64,
        "Size of the file; when it is reached, levels of the oldest nights go first.",
        unit="MB",
        ge=1,
        le=4096,
    )


class ClipsConfig(Section):
    """Audio of episodes, kept in the state folder. Off unless somebody switches it on."""

    enabled: bool = _key(False, "Keep the sound of each episode as a file.")
    pre_roll_s: float = _key(10.0, "Audio kept from before the crying began.", unit="s", ge=0, le=30)
    max_s: float = _key(120.0, "Longest audio of one episode, pre-roll and all.", unit="s", ge=5, le=600)
    keep_days: int = _key(7, "Age at which a clip is deleted.", unit="days", ge=1, le=3650)
    max_mb: int = _key(256, "Size of all clips together; the oldest give way.", unit="MB", ge=1, le=65536)
    format: Literal["flac", "opus"] = _key(
        "flac", "flac keeps every sample; opus takes a seventh of the room."
    )


class MetricsConfig(Section):
    """Figures for Prometheus; needs `pip install 'cradlewatch[metrics]'`."""

    listen: Listen | None = _key(
        None,
        "Where /metrics is served, to anybody who can reach it; not set: nowhere.",
        example="127.0.0.1:9464",
    )


class Config(BaseModel):
    """The whole configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: DeviceConfig = DeviceConfig()
    source: SourceConfig = SourceConfig()
    microphone: MicrophoneConfig = MicrophoneConfig()
    detect: DetectConfig = DetectConfig()
    events: EventsConfig = EventsConfig()
    mqtt: MqttConfig = MqttConfig()
    jsonl: JsonlConfig = JsonlConfig()
    push: PushConfig = PushConfig()
    sounder: SounderConfig = SounderConfig()
    history: HistoryConfig = HistoryConfig()
    clips: ClipsConfig = ClipsConfig()
    log: LogConfig = LogConfig()
    service: ServiceConfig = ServiceConfig()
    metrics: MetricsConfig = MetricsConfig()
