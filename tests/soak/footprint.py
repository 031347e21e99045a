"""What a process holds at a moment, as Linux counts it in /proc."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.bench.process_cost import cpu_ns_by_thread


@dataclass(frozen=True, slots=True)
class Footprint:
    """``cpu_s`` is that of the threads which live now."""

    rss_kb: int
    files: int
    threads: int
    cpu_s: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """Raises OSError when the process is gone."""
        folder = Path("/proc") / str(pid)
        fields = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        spent = cpu_ns_by_thread(pid)
        return cls(
            rss_kb=int(fields["VmRSS"].split()[0]),
            files=len(list((folder / "fd").iterdir())),
            threads=len(spent),
            cpu_s=sum(spent.values()) / 1e9,
        )


def sizes(folder: Path, suffixes: tuple[str, ...] = (".sqlite", ".sqlite-wal", ".json")) -> dict[str, int]:
    """Bytes of the files of a state folder."""
    return {
        path.name: path.stat().st_size for path in sorted(folder.rglob("*")) if path.name.endswith(suffixes)
    }
