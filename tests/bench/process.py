"""Processes under measurement: started on their own, their memory read from /proc, and ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MIB = 1024 * 1024


class Measured:
    """A process that tells its addresses in a first line of JSON, with the children that it starts."""

    def __init__(self, process: subprocess.Popen[bytes], told: dict[str, Any]) -> None:
        self.process, self.told = process, told
        self._rest: dict[int, int] = {}

    def children(self) -> list[int]:
        """Return the process ids of its children."""
        return [int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()]

    def rest(self) -> None:
        """Take what is resident now as the measure, and forget earlier peaks."""
        for pid in (self.process.pid, *self.children()):
            Path(f"/proc/{pid}/clear_refs").write_text("5")
            self._rest[pid] = _status(pid, "VmRSS")

    def grown(self) -> dict[str, float]:
        """Return by how many MiB the daemon and its children, each at its own peak, grew since `rest`."""
        daemon, children = self.process.pid, self.children()
        growth = {pid: (_status(pid, "VmHWM") - self._rest.get(pid, 0)) / MIB for pid in (daemon, *children)}
        inside = sum(growth[pid] for pid in children)
        return {"daemon": round(growth[daemon], 1), "children": round(inside, 1), "tree": round(growth[daemon] + inside, 1)}

    def cpu(self) -> dict[str, float]:
        """Return the seconds of processor time used so far by the daemon and by its children."""
        return {"daemon": _cpu(self.process.pid), "children": sum(map(_cpu, self.children()))}


@contextmanager
def measured(arguments: Sequence[str], log: Path) -> Iterator[Measured]:
    """Start a Python module with arguments; what it says to standard error goes to `log`. It ends with its standard input."""
    with open(log, "ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=os.environ
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{arguments[0]} did not start:\n{log.read_text()[-2000:]}")
        yield Measured(process, json.loads(line))
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} tells no {name}")


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of all values do not pass."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
