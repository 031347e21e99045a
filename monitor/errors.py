"""Every error that Cradlewatch raises on purpose.

::

    MonitorError                    base; ``str(error)`` is one sentence for the user
    ├── ConfigError                 a key, its value and the remedy; exit code 2
    ├── AudioFileError              a recording cannot be read; exit code 2
    ├── DeviceError                 the microphone
    │   ├── DeviceNotFoundError     no such input device
    │   └── DeviceLostError         it was there and stopped delivering
    ├── ModelError                  an artefact is missing or unreadable
    │   └── ManifestMismatchError   it does not fit this version of the program
    ├── RequestError                what was asked of the running monitor cannot be done
    └── SinkError                   an event could not be delivered
        ├── RetryableSinkError      worth another try (broker away)
        └── PermanentSinkError      another try gives the same answer (access denied)
            └── SinkGoneError       and so does every later message (the reader of stdout left)

Adapters translate a library's errors into these with ``raise … from``.
"""

from typing_extensions import override


class MonitorError(Exception):
    """Base of all errors raised on purpose.

    ``remedy`` says what the user can do; it is printed after the message.
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    @override
    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class ConfigError(MonitorError):
    """The configuration cannot be used: names the key, the value and the remedy."""

    exit_code = 2


class AudioFileError(MonitorError):
    """A recording cannot be opened or decoded."""

    exit_code = 2


class DeviceError(MonitorError):
    """The microphone cannot be used."""


class DeviceNotFoundError(DeviceError):
    """No input device answers to the configured name."""

    exit_code = 2


class DeviceLostError(DeviceError):
    """The device delivered audio and then stopped."""


class ModelError(MonitorError):
    """A model artefact is missing, unreadable or gives wrong answers."""

    exit_code = 2


class ManifestMismatchError(ModelError):
    """The artefact was made for another front end, another interface or another file."""


class RequestError(MonitorError):
    """A request to the running monitor is not one that it can follow; nothing has changed."""


class SinkError(MonitorError):
    """An event could not be delivered."""


class RetryableSinkError(SinkError):
    """Delivery failed for a reason that may pass; the caller tries again."""


class PermanentSinkError(SinkError):
    """Delivery failed for a reason that a further try will not change."""


class SinkGoneError(PermanentSinkError):
    """Nobody is there to take a message, nor can anybody come while this process lives."""
