"""Apprise, with the services that are used and no others.

By itself it loads all of its 130 services for the first URL: 15 MB, and seconds on a slow card. What a URL
needs is in one of its files, which says `protocol = "…"`.
"""

from __future__ import annotations

import contextlib
import logging
import re
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from monitor.errors import ConfigError

if TYPE_CHECKING:
    from types import ModuleType

LOGGER: Final = "apprise"
_TALKERS: Final = ("urllib3", "requests")
"""What Apprise speaks HTTP with; it logs paths, and a path of Telegram's holds the token."""
_PROTOCOL: Final = re.compile(r"^ +(?:secure_)?protocol\s*=\s*(\([^)]*\)|.*)$", re.MULTILINE)

_loading: Final = threading.Lock()
_asked: Final[set[str]] = set()


def library() -> ModuleType:
    """Apprise, whose log is ours to read and nobody else's: it holds tokens. Raises ConfigError."""
    for name in (LOGGER, *_TALKERS):
        logger = logging.getLogger(name)
        if logger.propagate:
            logger.propagate = False
            logger.addHandler(logging.NullHandler())
    logging.getLogger(LOGGER).setLevel(logging.DEBUG)
    try:
        # The second is what requests would load with the first alarm.
        import netrc  # noqa: F401, PLC0415

        import apprise  # noqa: PLC0415 - an extra, and 100 modules
    except ImportError as error:
        raise ConfigError(
            f"push.channels_file is set, but Apprise is not installed ({error}).",
            "Install it: pip install 'cradlewatch[push]'",
        ) from error
    return apprise


def library_for(url: str) -> ModuleType:
    """Apprise, able to use ``url``. Raises ConfigError."""
    apprise = library()
    schema = url.partition("://")[0].lower()
    with _loading:
        if schema not in _asked:
            _load(apprise.plugins.N_MGR, schema)
            _asked.add(schema)
    return apprise


def _load(manager: Any, schema: str) -> None:
    """Load the service of ``schema``; all of them where none says that it is its own, as with "https"."""
    # Without a folder for temporary files, or with a later Apprise, all are loaded: that only costs memory.
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory(prefix="cradlewatch-") as folder:
        # The manager loads what a folder lists, by name and from the package itself.
        for name in _modules_of(Path(manager.module_path), schema):
            (Path(folder) / name).touch()
        manager.load_modules(path=folder, name=manager.module_name_prefix)
    if schema not in manager:
        manager.load_modules()


def _modules_of(folder: Path, schema: str) -> Iterator[str]:
    """Names in ``folder`` of the files and packages that claim ``schema``."""
    for path in sorted(folder.rglob("*.py")):
        claims = _PROTOCOL.findall(path.read_text("utf-8", "replace"))
        if any(f'"{schema}"' in claim for claim in claims):
            yield path.relative_to(folder).parts[0]
