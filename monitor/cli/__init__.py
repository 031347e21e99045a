"""The command line. Each command is a module with ``add_arguments(parser)`` and ``run(arguments)``.

A command's module is imported when it is called, so that ``cradlewatch run`` pays for nothing else.
The module's docstring is the command's help; ``run`` returns the exit code.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from typing_extensions import override

from monitor import __version__
from monitor.config.sentences import suggestion
from monitor.errors import ConfigError, MonitorError

# Before any command: see there what it keeps out.
from monitor.log import configure_logging
from monitor.redaction import hide_credentials
from monitor.words import plain

COMMANDS: Final = {
    "run": ("monitor.cli.run", "listen until stopped: microphone in, messages out"),
    "scan": ("monitor.cli.scan", "find the crying in recordings"),
    "report": ("monitor.cli.report", "tell what a night was like: crying, calm, alerts, faults"),
    "forget": ("monitor.cli.forget", "delete all that is kept about a night, or about all"),
    "check": (
        "monitor.cli.check",
        "test what the service needs: microphone, models, broker, push, speaker, folder",
    ),
    "alert": ("monitor.cli.alert", "try whether alerts reach the phones"),
    "hub": ("monitor.cli.hub", "take this device out of the home hub"),
    "devices": ("monitor.cli.devices", "list the input devices"),
    "status": ("monitor.cli.status", "ask the running service how it is"),
    "config": ("monitor.cli.config", "show the configuration and where each value comes from"),
    "demo": ("monitor.demo.command", "see a cry become a message, with everything real"),
    "bench": ("monitor.bench", "measure what each stage costs on this machine"),
    "version": ("monitor.cli.version", "print the version"),
}

INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
OUTPUT_FAILED: Final = 1
NO_THREAD: Final = 1
_NO_THREAD: Final = "can't start new thread"
"""Python's own words."""

_OUTPUT_FAULTS: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in ``argv`` and return its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    _mend_streams()
    configure_logging("warning")
    try:
        code = _flushed(argv)
    except MonitorError as error:
        # Several mistakes in a configuration are several lines; elsewhere a line break is part of some name.
        lines = str(error).splitlines() if isinstance(error, ConfigError) else [str(error)]
        for line in lines:
            print(f"cradlewatch: error: {hide_credentials(plain(line, None))}", file=sys.stderr)
        return error.exit_code
    except RuntimeError as error:
        if str(error) != _NO_THREAD:
            raise
        print(
            "cradlewatch: error: The system lets the program have no more threads. Let it have more: "
            "TasksMax= of its unit, pids_limit of its container, `ulimit -u`.",
            file=sys.stderr,
        )
        return NO_THREAD
    except KeyboardInterrupt:
        print("cradlewatch: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us (head, less) has enough. The interpreter's own flush at exit must not complain.
        _drop_stdout()
        return BROKEN_PIPE
    except OSError as error:
        # Where a file was opened by name, the error carries the name and is no fault of an output.
        if error.errno not in _OUTPUT_FAULTS or error.filename is not None:
            raise
        print(
            f"cradlewatch: error: The output cannot be written: {error.strerror}. "
            "Send it to where it can be written and there is space.",
            file=sys.stderr,
        )
        _drop_stdout()
        return OUTPUT_FAILED
    return code


def _mend_streams() -> None:
    """Make the standard streams fit for use, however the program was started."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - for good
    if sys.stdout is None:
        # A descriptor that cannot be written: only what needs stdout fails, and no file opened later
        # becomes descriptor 1 by accident.
        closed = os.open(os.devnull, os.O_RDONLY)
        os.dup2(closed, 1)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - for good
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names may be anything; none may cost the output.
        sys.stdout.reconfigure(errors="backslashreplace")


def _flushed(argv: Sequence[str]) -> int:
    try:
        code = _dispatch(argv)
    except SystemExit:  # argparse has printed its help
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


def _drop_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(argv: Sequence[str]) -> int:
    if not argv or argv[0].startswith("-"):
        _top_parser().parse_args(argv)
        _top_parser().print_help()
        return 0
    # Not by argparse, which takes the -- of `scan -- -night.wav` for its own.
    command, rest = argv[0], argv[1:]
    if command not in COMMANDS:
        raise ConfigError(
            f"There is no command {command!r}.",
            suggestion(command, COMMANDS) or "`cradlewatch --help` lists the commands.",
        )
    module = importlib.import_module(COMMANDS[command][0])
    parser = _Parser(
        prog=f"cradlewatch {command}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    code: int = module.run(parser.parse_args(rest))
    return code


class _Parser(argparse.ArgumentParser):
    """Repeats what it does not understand, a file name after a forgotten -- for example, without harm."""

    @override
    def error(self, message: str) -> NoReturn:
        super().error(plain(message, None))


def _top_parser() -> argparse.ArgumentParser:
    width = max(len(name) for name in COMMANDS)
    listing = "\n".join(f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items())
    parser = _Parser(
        prog="cradlewatch",
        description="A baby monitor that listens on the device it runs on and tells the home hub.",
        epilog=f"commands:\n{listing}\n\n`cradlewatch COMMAND --help` says more about each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cradlewatch {__version__}")
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="what to do, see below")
    parser.add_argument("rest", nargs="*", metavar="...", help="its arguments")
    return parser
