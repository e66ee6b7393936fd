"""Real failures of a machine: small and read-only filesystems, syncs that fail or hang, a clock that is set."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

_SHIM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct control { int fail; volatile int hold; volatile long long skew; volatile char where[240]; };
static struct control none, *control = &none;
static int journal = -1;

/* A process that was forked with new variables calls it again. */
__attribute__((constructor)) void attach_faults(void)
{
    if (!getenv("FAULTS_CONTROL"))
        return;
    int file = open(getenv("FAULTS_CONTROL"), O_RDWR | O_CLOEXEC);
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    journal = open(getenv("FAULTS_JOURNAL"), O_WRONLY | O_APPEND | O_CLOEXEC);
}

static void record(const char *what, const char *path)
{
    char line[1200];
    int size = snprintf(line, sizeof line, "%s %s\n", what, path);
    if (control != &none && write(journal, line, size) != size)
        abort();
}

static int run(int file, long number)
{
    char name[64], path[1024];
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    ssize_t size = readlink(name, path, sizeof path - 1);
    path[size < 0 ? 0 : size] = 0;
    if (control->hold && strstr(path, (char *)control->where)) {
        record("held", path);
        while (control->hold)
            usleep(1000);
    }
    if (strstr(path, (char *)control->where) && __atomic_load_n(&control->fail, __ATOMIC_SEQ_CST) > 0
        && __atomic_fetch_sub(&control->fail, 1, __ATOMIC_SEQ_CST) > 0) {
        record("failed", path);
        errno = EIO;
        return -1;
    }
    int result = syscall(number, file);
    record("synced", path);
    return result;
}

int fsync(int file) { return run(file, SYS_fsync); }
int fdatasync(int file) { return run(file, SYS_fdatasync); }

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = syscall(SYS_clock_gettime, clock, now);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += control->skew;
    return result;
}

time_t time(time_t *seconds)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (seconds)
        *seconds = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
"""
# The variables of `Faults.env`, and what lets a process have the faults that was started without them.
FAULTS: Final = ("FAULTS_CONTROL", "FAULTS_JOURNAL", "LD_PRELOAD")
ATTACH_FAULTS: Final = "import ctypes; ctypes.CDLL(None).attach_faults()"
_BLOCK = 4096
_CONTROL = struct.Struct("iiq240s")


def build_shim(folder: Path) -> Path:
    """Compile the library that intercepts the daemon's syncs and clock readings."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the library that makes syncs fail")
    source, library = folder / "shim.c", folder / "shim.so"
    source.write_text(_SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source], check=True)
    return library


class Faults:
    """Faults of a daemon that was started with `env`: syncs that fail or hang, and a clock that is `skew` seconds off.

    They apply to the syncs of files whose path contains `where`, but not in the daemon's child processes.
    """

    def __init__(self, library: Path, folder: Path) -> None:
        control, self._journal = folder / "faults", folder / "syncs"
        control.write_bytes(_CONTROL.pack(0, 0, 0, b""))
        self._journal.touch()
        with open(control, "r+b") as file:
            self._control = mmap.mmap(file.fileno(), _CONTROL.size)
        self._set = {"fail": 0, "hold": 0, "skew": 0}
        self._where = ""
        self.env = dict(zip(FAULTS, map(str, (control, self._journal, library)), strict=True))

    def fail(self, where: str, times: int = 1_000_000) -> None:
        """Make the next syncs fail, as on a disk with a bad sector."""
        self._write(where, fail=times)

    def hold(self, where: str) -> None:
        """Make syncs hang from now on, as on an overloaded disk."""
        self._write(where, hold=1)

    def clear(self) -> None:
        """End every fault of syncs; those that hang continue."""
        self._write("", fail=0, hold=0)

    def skew(self, seconds: int) -> None:
        """Set the clock this many seconds ahead of the real time."""
        self._write(self._where, skew=seconds)

    def _write(self, where: str, **changes: int) -> None:
        self._set.update(changes)
        self._where = where
        self._control[:] = _CONTROL.pack(self._set["fail"], self._set["hold"], self._set["skew"], where.encode())

    def syncs(self, what: str, where: str = "") -> list[str]:
        """Return the paths of the syncs so far that were `held`, `failed` or `synced`."""
        lines = (line.partition(" ") for line in self._journal.read_text().splitlines())
        return [path for happened, _, path in lines if happened == what and where in path]


def _mount(*args: str) -> None:
    done = subprocess.run(["mount", *args], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mount failed: {done.stderr.strip()}")


def _require_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount")


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    """Mount an empty filesystem of this size."""
    _require_root()
    place.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Make a directory read-only, with everything below it."""
    if os.geteuid() != 0:
        directories = [place, *(path for path in place.rglob("*") if path.is_dir())]
        for directory in directories:
            directory.chmod(0o500)
        try:
            yield
        finally:
            for directory in directories:
                directory.chmod(0o700)
        return
    _mount("--bind", str(place), str(place))
    try:
        _mount("-o", "remount,bind,ro", str(place))
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(place: Path, left: int) -> Path:
    """Fill a small filesystem until `left` bytes are free; return the file that fills it."""
    filler, facts = place / "filler", os.statvfs(place)
    with open(filler, "wb", buffering=0) as file, suppress(OSError):
        for _ in range((facts.f_bavail * facts.f_frsize - left) // _BLOCK):
            file.write(bytes(_BLOCK))
    return filler
