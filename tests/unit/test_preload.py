"""What is loaded before the daemon is ready, and what is not."""

from __future__ import annotations

import subprocess
import sys

from tests.wait_helpers import PATIENCE


def printed(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=True)
    return done.stdout.split()


def test_the_daemon_loads_no_library_that_it_does_not_use() -> None:
    program = (
        "import sys\n"
        "from mailbridge.preload import load_modules, quick_imports\n"
        "with quick_imports():\n"
        "    import mailbridge.process\n"
        "load_modules()\n"
        "print(*sys.modules)\n"
    )
    loaded = set(printed(program))
    assert "structlog" in loaded
    assert not loaded & {"rich", "sqlalchemy.dialects.postgresql", "pygments"}


def test_rich_can_be_imported_afterwards() -> None:
    assert printed(
        "from mailbridge.preload import quick_imports\n"
        "with quick_imports():\n"
        "    import mailbridge.log\n"
        "import rich.table\n"
        "print(rich.table.__name__)\n"
    ) == ["rich.table"]


def test_garbage_is_not_looked_for_meanwhile_and_is_afterwards() -> None:
    assert printed(
        "import gc\n"
        "from mailbridge.preload import keep_loaded, quick_imports\n"
        "with quick_imports():\n"
        "    import mailbridge.log\n"
        "    print(gc.isenabled())\n"
        "print(gc.isenabled())\n"
        "gc.disable()\n"
        "with quick_imports():\n"
        "    print(gc.isenabled())\n"
        "print(gc.isenabled())\n"
        "keep_loaded()\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 0)\n"
    ) == ["False", "True", "False", "False", "True", "True"]
