"""Whether a process that is not a child of the tests has ended."""

from __future__ import annotations

from pathlib import Path


def has_ended(pid: int) -> bool:
    """Return whether the process is gone, or only waits for its parent to notice (Z in proc_pid_stat(5))."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
