"""The adapter: private members of aiosmtpd and asyncio are checked at import, and used in that file alone."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiosmtpd.smtp import SMTP

import mailbridge
from mailbridge.submission import aiosmtpd_adapter as adapter
from tests.wait_helpers import PATIENCE

PACKAGE = Path(mailbridge.__file__).parent
MEMBERS = [(owner, name) for owner, members in adapter._PRIVATE.items() for name in members]


def private_attributes(path: Path) -> set[str]:
    """The private attributes that a file reads or sets on any object, and the private methods that it defines."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "name", "")
        if isinstance(name, str) and name.startswith("_") and not name.startswith("__"):
            found.add(name)
    return found


def inherited_names(*owners: str) -> set[str]:
    """Every private name of the samples of these owners: an aiosmtpd protocol and its reader unless others are given."""
    sample = adapter._sample()
    things = [sample[owner] for owner in owners or ("SMTP", "StreamReader")]
    return {name for thing in things for name in dir(thing) if name.startswith("_") and not name.startswith("__")}


@pytest.mark.parametrize(("owner", "name"), MEMBERS)
def test_check_fails_for_a_missing_member_and_names_it(owner: str, name: str) -> None:
    found = {one: SimpleNamespace(**dict.fromkeys(members)) for one, members in adapter._PRIVATE.items()}
    adapter.check_private_members(found)
    delattr(found[owner], name)
    with pytest.raises(ImportError, match=rf"has no {owner}\.{name}, which mailbridge needs; install aiosmtpd~=1\.4\.6"):
        adapter.check_private_members(found)


def test_import_fails_with_an_aiosmtpd_that_lacks_a_member() -> None:
    program = (
        "from aiosmtpd.smtp import SMTP\n"
        "SMTP._restart_timeout = SMTP._reset_timeout\n"
        "del SMTP._reset_timeout\n"
        "import mailbridge.submission.server\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert "has no SMTP._reset_timeout, which mailbridge needs" in done.stderr.splitlines()[-1]


def test_version_is_pinned_to_the_one_that_the_error_names() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "aiosmtpd~=1.4.6" in project["dependencies"]


def test_adapter_alone_imports_aiosmtpd() -> None:
    """The demo's mail relay uses its public server as it is."""
    importing = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "aiosmtpd")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "aiosmtpd" for alias in node.names))
    }
    assert importing - {"demo/mail_relay.py"} == {"submission/aiosmtpd_adapter.py"}


def test_adapter_names_every_private_member_that_it_uses() -> None:
    own = {name for name in vars(adapter.SmtpProtocol) if name not in vars(SMTP)} | {"_raw_receiver", "_unknown"}
    used = private_attributes(PACKAGE / "submission/aiosmtpd_adapter.py") - own
    assert used & (inherited_names() | {"_app_transport"}) == {name for _, name in MEMBERS}


def test_no_other_file_uses_a_private_member_of_aiosmtpd_or_asyncio() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py") if path.name != "aiosmtpd_adapter.py"}
    heirs = {"(SmtpProtocol)": "client_connection.py", "(ClientConnection)": "session.py", "(SSLProtocol)": "tls_handshake.py"}
    inheriting = {base: {path.name for path, source in sources.items() if base in source} for base in heirs}
    assert inheriting == {base: {name} for base, name in heirs.items()}
    # Classes that inherit nothing from aiosmtpd may have attributes of such common names.
    common = {"_reader", "_writer", "_buffer"}
    for path in sources:
        foreign = {name for _, name in MEMBERS} - common
        if path.name in heirs.values():
            foreign = inherited_names("SSLProtocol") if path.name == "tls_handshake.py" else inherited_names()
        assert private_attributes(path) & foreign == set(), path


def test_own_private_names_do_not_collide_with_inherited_ones() -> None:
    declared = {name for _, name in MEMBERS}
    own = {name for name in vars(adapter.SmtpProtocol) if name.startswith("_") and not name.startswith("__")} | {"_raw_receiver"}
    assert own & inherited_names() <= declared
