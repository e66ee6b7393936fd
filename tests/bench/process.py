"""Processes to measure: started, their memory and processor time read from /proc, and stopped."""

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


class MeasuredProcess:
    """A process and its children. `facts` is the JSON of the first line that it printed, such as its port."""

    def __init__(self, process: subprocess.Popen[bytes], facts: dict[str, Any]) -> None:
        self.process, self.facts = process, facts
        self._baseline: dict[int, int] = {}

    def children(self) -> list[int]:
        """Return the process ids of its children, and of theirs."""
        return descendants(self.process.pid)

    def set_baseline(self) -> None:
        """Take the memory resident now as the baseline, and reset the peaks."""
        for pid in (self.process.pid, *self.children()):
            Path(f"/proc/{pid}/clear_refs").write_text("5")
            self._baseline[pid] = _status(pid, "VmRSS")

    def growth(self) -> dict[str, float]:
        """Return by how many MiB the process and its children, each at its peak, have grown since `set_baseline`."""
        daemon, children = self.process.pid, self.children()
        grown = {pid: (_status(pid, "VmHWM") - self._baseline.get(pid, 0)) / MIB for pid in (daemon, *children)}
        inside = sum(grown[pid] for pid in children)
        return {"daemon": round(grown[daemon], 1), "children": round(inside, 1), "tree": round(grown[daemon] + inside, 1)}

    def cpu(self) -> dict[str, float]:
        """Return the seconds of processor time used so far by the process and by its children."""
        return cpu_seconds(self.process.pid)


@contextmanager
def measured(arguments: Sequence[str], log: Path) -> Iterator[MeasuredProcess]:
    """Run a Python module with arguments and its standard error in `log`; closing its standard input ends it."""
    with open(log, "ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=os.environ
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{arguments[0]} did not start:\n{log.read_text()[-2000:]}")
        yield MeasuredProcess(process, json.loads(line))
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


def cpu_seconds(pid: int) -> dict[str, float]:
    """Return the seconds of processor time used so far by a process and by its children."""
    return {"daemon": _cpu(pid), "children": sum(map(_cpu, descendants(pid)))}


def descendants(pid: int) -> list[int]:
    """Return the process ids of a process's children, and of theirs."""
    found = _children(pid)
    return found + [inner for child in found for inner in _children(child)]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/{pid}/status has no {name}")


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
