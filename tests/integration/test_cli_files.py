"""What `mailbridge files` writes, the wheel that it comes in, and the container file."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mailbridge import __version__
from mailbridge.cli import COMMANDS
from tests.integration.cli_fixtures import environment, one_line, run
from tests.wait_helpers import PATIENCE

ROOT = Path(__file__).parents[2]


def command(*words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=PATIENCE, env=environment(**more))


def test_files_systemd_writes_units_that_call_this_installation(tmp_path: Path) -> None:
    done = run("files", "systemd", tmp_path / "units")
    assert (done.status, done.errors) == (0, "")
    names = ["mailbridge.service", "mailbridge.socket", "mailbridge.sysusers.conf", "config.example.toml"]
    assert done.output.splitlines() == [str(tmp_path / "units" / name) for name in names]
    for name in names:
        source = ROOT / ("" if name == "config.example.toml" else "systemd") / name
        expected = source.read_text(encoding="utf-8")
        if name == "mailbridge.service":
            expected = expected.replace("/opt/mailbridge/bin/mailbridge", f"{sys.prefix}/bin/mailbridge")
        assert (tmp_path / "units" / name).read_text(encoding="utf-8") == expected


def test_files_names_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("files", "man", tmp_path / "file" / "man1")
    assert (done.status, "name another directory" in one_line(done)) == (1, True)


@pytest.mark.parametrize(("shell", "name"), [("bash", "mailbridge"), ("zsh", "_mailbridge"), ("fish", "mailbridge.fish")])
def test_files_completion_completes_commands_and_options(tmp_path: Path, shell: str, name: str) -> None:
    assert run("files", "completion", tmp_path, "--shell", shell).output == f"{tmp_path / name}\n"
    script = (tmp_path / name).read_text(encoding="utf-8")
    assert f"_MAILBRIDGE_COMPLETE={shell}_complete" in script
    if shell == "bash":
        assert command("bash", "-n", tmp_path / name).returncode == 0
    asked = {"_MAILBRIDGE_COMPLETE": "bash_complete", "COMP_CWORD": "1"}
    assert "plain,queue" in run(COMP_WORDS="mailbridge qu", **asked).output.splitlines()
    assert "plain,--number" in run(COMP_WORDS="mailbridge queue --nu", **{**asked, "COMP_CWORD": "2"}).output.splitlines()


def test_files_man_writes_a_page_with_every_command_and_option(tmp_path: Path) -> None:
    assert run("files", "man", tmp_path).status == 0
    text = (tmp_path / "mailbridge.1").read_text(encoding="utf-8")
    assert text.startswith(f'.TH MAILBRIDGE 1 "" "mailbridge {__version__}"')
    for name in COMMANDS:
        assert f".SS mailbridge {name}".replace("-", "\\-") in text, name
    assert r".B \-\-number NUMBER" in text
    assert r"[\fIOPTION\fR]... [\fIARGUMENT\fR]..." in text
    if shutil.which("groff"):
        shown = command("groff", "-man", "-Tutf8", "-ww", "-K", "utf-8", tmp_path / "mailbridge.1")
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "mailbridge queue --number 03-9876543" in shown.stdout.replace("\x1b[0m", "")


def test_help_is_a_command_and_v_an_option() -> None:
    assert run("help", "queue").output == run("queue", "--help").output
    assert run("help", "line", "register").output == run("line", "register", "--help").output
    assert run("help").output == run("--help").output
    assert run("help", "quueue").status == 2
    assert run("-V").output == f"mailbridge {__version__}\n"


def test_the_simulator_without_its_extra_names_the_extra_and_pip(tmp_path: Path) -> None:
    for missing, more in (("pymap", ("--imap-port", "0")),):
        blocked = f"import sys; sys.modules[{missing!r}] = None; from mailbridge.cli import main; "
        words = ["simulator", "--port", "0", *more]
        program = f"{blocked}main({words!r})"
        done = command(sys.executable, "-c", program)
        assert done.returncode == 1, done.stderr
        assert done.stderr.startswith(f"mailbridge: {missing} is not installed: it is part of the extra demo")
        assert f"{sys.prefix}/bin/pip install" in done.stderr


def test_time_zones_do_not_depend_on_the_machine() -> None:
    assert "tzdata>=" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "\ntzdata==" in (ROOT / "systemd/constraints.txt").read_text(encoding="utf-8")
    program = "from mailbridge.config.values import Zone; from zoneinfo import ZoneInfo; print(ZoneInfo('Asia/Jerusalem'))"
    assert command(sys.executable, "-c", program, PYTHONTZPATH="").stdout == "Asia/Jerusalem\n"


def test_the_wheel_has_the_units_and_the_example(tmp_path: Path) -> None:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    clone = tmp_path / "clone"
    for name in filter(None, names):
        if name.startswith(("mailbridge/", "systemd/", "docs/LICENSE", "pyproject", "README", "config.example")):
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name, follow_symlinks=False)
    built = command(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path / "dist", clone)
    assert built.returncode == 0, built.stderr
    [wheel] = (tmp_path / "dist").glob("*.whl")
    assert wheel.name == f"mailbridge-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as content:
        for name in ("mailbridge.service", "mailbridge.socket", "mailbridge.sysusers.conf"):
            assert content.read(f"mailbridge/files/systemd/{name}") == (ROOT / "systemd" / name).read_bytes()
        assert content.read("mailbridge/files/config.example.toml") == (ROOT / "config.example.toml").read_bytes()
        assert any(name.endswith("licenses/docs/LICENSE") for name in content.namelist())


def test_the_container_file_passes_its_linter_and_runs_as_nobody_special() -> None:
    file = ROOT / "docs/Containerfile"
    done = command(Path(sys.executable).parent / "hadolint", file)
    assert (done.returncode, done.stdout) == (0, "")
    lines = file.read_text(encoding="utf-8").splitlines()
    assert "USER 10025:10025" in lines
    assert "VOLUME /var/lib/mailbridge" in lines
