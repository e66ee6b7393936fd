"""The plan of the code: who may import whom, what is pure, how long a file is, and what the top level holds."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from tests.wait_helpers import PATIENCE

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mailbridge"
STAGES = ("submission", "fax", "report", "webhook", "notice", "web", "control")
# Each layer may import what is below it. Inside one layer, a package may import itself alone.
LAYERS = (
    ("random_bytes",),
    ("errors",),
    ("lifecycle",),
    ("model",),
    ("store", "myfax", "page"),
    ("runtime",),
    STAGES,
    ("console",),
    ("assembly", "http_assembly", "online_check"),
    ("background",),
    ("watched_mailboxes",),
    ("stores",),
    ("sqlite_import",),
    ("app",),
    ("process",),
    ("demo",),
    ("cli",),
    ("__main__",),
)
# May be imported from everywhere above the nouns, and import nothing of ours beyond what stands here.
LEAVES: dict[str, set[str]] = {
    "accounting": set(),
    "answer_limits": set(),
    "client_group": set(),
    "clock": set(),
    "config": {"errors", "config", "phone"},
    "descriptors": set(),
    "error_table": set(),
    "happy_eyeballs": set(),
    "http_connections": set(),
    "http_stream": {"happy_eyeballs"},
    "log": set(),
    "metrics": set(),
    "phone": {"errors", "phone"},
    "preload": set(),
    "retry": set(),
    "systemd": set(),
    "tls_handshake": set(),
    "threads": set(),
}
NOUNS = ("errors", "lifecycle", "model")

PURE = (
    "client_group.py",
    "console/client_address.py",
    "console/csv_cells.py",
    "console/paging.py",
    "console/search_terms.py",
    "errors.py",
    "lifecycle.py",
    "myfax/answers.py",
    "myfax/forms.py",
    "myfax/status_codes.py",
    "myfax/values.py",
    "myfax/xml_parser.py",
    "notice/admin_text.py",
    "notice/compose.py",
    "notice/confirmation.py",
    "notice/dsn.py",
    "error_table.py",
    "notice/mime_writer.py",
    "notice/original.py",
    "notice/route_match.py",
    "notice/wording.py",
    "page/aligned_text.py",
    "page/bidi.py",
    "page/bidi_controls.py",
    "page/confirmation_text.py",
    "page/page_head.py",
    "page/shown_page.py",
    "phone/contacts.py",
    "phone/israel.py",
    "phone/national_form.py",
    "phone/number.py",
    "phone/printed_number.py",
    "report/authentication_results.py",
    "report/imap_authentication.py",
    "report/imap_refusal.py",
    "report/imap_responses.py",
    "report/listing_match.py",
    "report/mail_body.py",
    "report/mail_header.py",
    "report/match.py",
    "report/parser.py",
    "retry.py",
    "store/list_filter.py",
    "store/notice_records.py",
    "store/equal_lines.py",
    "store/transfer_encoding.py",
    "submission/address.py",
    "submission/command_line.py",
    "submission/commands.py",
    "submission/connection_limits.py",
    "submission/dot_decoder.py",
    "submission/enhanced_codes.py",
    "submission/letter/charsets.py",
    "submission/letter/cloud_files.py",
    "submission/letter/content_kind.py",
    "submission/letter/covering.py",
    "submission/letter/covering_languages.py",
    "submission/letter/covering_phrases.py",
    "submission/letter/covering_scanners.py",
    "submission/letter/document_types.py",
    "submission/letter/encoded_text.py",
    "submission/letter/enriched.py",
    "submission/letter/file_name.py",
    "submission/letter/flowed.py",
    "submission/letter/html_layout.py",
    "submission/letter/html_text.py",
    "submission/letter/html_tokens.py",
    "submission/letter/letter.py",
    "submission/letter/mime_parameters.py",
    "submission/letter/picture_places.py",
    "submission/letter/rtf.py",
    "submission/letter/tnef.py",
    "submission/letter/uuencode.py",
    "submission/limits.py",
    "submission/policy.py",
    "submission/trusted_networks.py",
    "submission/worker_shares.py",
    "webhook/payload.py",
    "webhook/routing.py",
    "webhook/samples.py",
)
# What a pure module may import: nothing in here opens, connects, waits, or reads a clock by being imported.
HARMLESS_IMPORTS = {
    *("__future__", "typing", "collections", "dataclasses", "enum", "functools", "itertools", "operator", "string", "textwrap"),
    *(
        "codecs",
        "csv",
        "re",
        "difflib",
        "struct",
        "zipfile",
        "html",
        "json",
        "base64",
        "binascii",
        "hashlib",
        "hmac",
        "io",
        "unicodedata",
        "fnmatch",
        "datetime",
        "zoneinfo",
    ),
    *("pybase64", "email", "ipaddress", "xml", "decimal", "defusedxml", "phonenumbers"),
}
# Packages that open and connect, of which a pure module may import these types: the shape of what it gets.
TYPES_ELSEWHERE = {"mailbridge.config": {"Webhook", "Notice", "Route"}}
IMPURE_CALLS = {
    *("open", "input", "print", "exec", "eval", "__import__"),
    *("now", "utcnow", "today", "localtime", "make_msgid", "formatdate", "new_id", "new_token"),
}

# Past 300 lines, look again. These were looked at.
LONG: dict[str, str] = {
    "store/schema.py": "every table and what its columns mean, which is read side by side",
    "submission/aiosmtpd_adapter.py": "all that depends on private members of aiosmtpd, in one place",
}
ROOT_FILES = ("pyproject.toml", "README.md", "CHANGELOG.md", "config.example.toml", "LICENSE")
ROOT_FOLDERS = ("mailbridge", "systemd", "tests", "docs")
# What tools leave behind; .gitignore keeps it out of the repository.
LEFT_BEHIND = ("build", "*.egg-info", "__pycache__")

_NAMED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"), module)


@dataclass(frozen=True)
class Facts:
    """What the tests ask of every module, which is read once.

    `imports` is every import, also inside functions and `if TYPE_CHECKING`: (module, name), the name empty for the whole.
    `docstring` is None for an empty module. `silent` are the public functions and classes without a docstring.
    """

    imports: tuple[tuple[str, str], ...]
    docstring: str | None
    silent: tuple[str, ...]
    classes: tuple[str, ...]


@cache
def facts(module: str) -> Facts:
    parsed = tree(module)
    nodes = list(ast.walk(parsed))
    public = [node for node in parsed.body if isinstance(node, _NAMED) and not node.name.startswith("_")]
    return Facts(
        imports=tuple(found for node in nodes for found in _imported(module, node)),
        docstring=(ast.get_docstring(parsed) or "") if parsed.body else None,
        silent=tuple(node.name for node in public if ast.get_docstring(node) is None),
        classes=tuple(node.name for node in nodes if isinstance(node, ast.ClassDef)),
    )


def _imported(module: str, node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        yield from ((alias.name, "") for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{module}:{node.lineno}: a relative import hides where it leads"
        yield from ((node.module or "", alias.name) for alias in node.names)


def package(dotted: str) -> str:
    return dotted.split(".")[1] if "." in dotted else ""


def packages_used(module: str) -> set[str]:
    """The packages of mailbridge that a module imports; `from mailbridge import log` uses the package log."""
    found = set()
    for target, name in facts(module).imports:
        if target == "mailbridge":
            found.add(name if (PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir() else "")
        elif target.startswith("mailbridge."):
            found.add(package(target))
    return found - {""}


def own_package(module: str) -> str:
    return "" if module == "__init__.py" else module.split("/")[0].removesuffix(".py")


def layer(name: str) -> int:
    return next((level for level, names in enumerate(LAYERS) if name in names), -1)


def test_every_room_has_its_place() -> None:
    placed = {name for names in LAYERS for name in names} | set(LEAVES)
    assert {own_package(module) for module in MODULES} - {""} <= placed


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    mine, used = own_package(module), packages_used(module)
    if mine == "":
        assert not used, "importing mailbridge itself loads nothing"
    elif mine in LEAVES:
        assert used <= LEAVES[mine], f"a leaf imports {used - LEAVES[mine]}"
    else:
        for other in used - {mine}:
            if other in LEAVES:
                assert mine not in NOUNS, f"{module} is a noun and imports {other}"
            else:
                assert layer(other) < layer(mine), f"{module} imports {other}, which is not below it"


def test_stages_meet_only_in_the_store() -> None:
    met = {(own_package(module), other) for module in MODULES for other in packages_used(module)}
    assert not {(one, other) for one, other in met if one in STAGES and other in STAGES and one != other}


def test_the_console_uses_the_actions_of_the_control_socket_and_no_other_stage() -> None:
    used = {other for module in MODULES if own_package(module) == "console" for other in packages_used(module)}
    assert used & set(STAGES) == {"control"}


def test_stores_alone_picks_a_store() -> None:
    concrete = {"mailbridge.store.sqlite", "mailbridge.store.postgres"}
    users = {module for module in MODULES for target, _ in facts(module).imports if target in concrete}
    assert {module for module in users if own_package(module) != "store"} == {"stores.py"}


def test_config_alone_reads_toml() -> None:
    # `queue` must work for a person who may not read the secrets, so the command line looks up the one key state_dir itself.
    users = {module for module in MODULES for target, _ in facts(module).imports if target == "tomllib"}
    assert users == {"config/loader.py", "cli/store_query.py"}


@pytest.mark.parametrize("module", [module for module in PURE if (PACKAGE / module).exists()])
def test_pure_modules_reach_for_nothing(module: str) -> None:
    for target, name in facts(module).imports:
        top = target.split(".")[0]
        if top != "mailbridge":
            assert top in HARMLESS_IMPORTS, f"{module} imports {target}"
        elif target in TYPES_ELSEWHERE:
            assert name in TYPES_ELSEWHERE[target], f"{module} takes {name} from {target}"
        else:
            dotted = f"{target.removeprefix('mailbridge.').replace('.', '/')}.py"
            assert dotted in (*PURE, "model.py"), f"{module} imports {target}, which is not pure"
    for node in ast.walk(tree(module)):
        called = node.func if isinstance(node, ast.Call) else None
        name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
        assert name not in IMPURE_CALLS, f"{module} calls {name}: clock, randomness and files come in as arguments"


def test_the_pure_ones_that_the_plan_names_are_listed() -> None:
    """A module that calls itself pure is held to it."""
    pure = {module for module in MODULES if "Pure" in (facts(module).docstring or "")}
    assert pure <= set(PURE)
    assert not [module for module in PURE if not (PACKAGE / module).exists()]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_its_job(module: str) -> None:
    text = facts(module).docstring
    if text is None:
        assert module.endswith("/__init__.py"), f"{module} is empty"
        return
    first = text.split("\n", 1)[0]
    assert first.endswith((".", ":", "?")), f"{module} does not say what it is for"
    assert len(first) <= 130


@pytest.mark.parametrize("module", MODULES)
def test_public_names_say_their_job(module: str) -> None:
    assert not facts(module).silent


@pytest.mark.parametrize("module", MODULES)
def test_files_stay_short(module: str) -> None:
    lines = len((PACKAGE / module).read_text(encoding="utf-8").splitlines())
    assert lines <= 300 or LONG.get(module), f"{module} has {lines} lines: look again"
    assert lines <= 500


def test_long_files_are_listed_only_while_they_are_long() -> None:
    assert not {module for module in LONG if len((PACKAGE / module).read_text(encoding="utf-8").splitlines()) <= 300}


def test_nobody_is_called_manager() -> None:
    words = ("manager", "helper", "util")
    assert not [module for module in MODULES for word in words if word in module.lower()]
    named = {name for module in MODULES for name in facts(module).classes}
    assert not [name for name in named for word in words if word in name.lower()]


def test_the_root_has_only_what_it_may() -> None:
    found = {path.name: path.is_dir() for path in ROOT.iterdir() if not path.name.startswith(".")}
    allowed = {True: ROOT_FOLDERS, False: ROOT_FILES}
    strange = [name for name, folder in found.items() if name not in allowed[folder]]
    assert not [name for name in strange if not any(fnmatch(name, pattern) for pattern in LEFT_BEHIND)]
    assert {"pyproject.toml", "README.md", "config.example.toml", "mailbridge", "systemd", "tests"} <= set(found)


def loaded_by(*arguments: str) -> set[str]:
    """The third-party packages that a command line has imported when it ends."""
    program = (
        "import atexit, sys\n"
        "from mailbridge.cli import main\n"
        "names = lambda: print('\\nLOADED', *{name.split('.')[0] for name in sys.modules})\n"
        "atexit.register(names)\n"
        f"main({list(arguments)!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=True)
    return set(done.stdout.rpartition("LOADED")[2].split()) - set(sys.stdlib_module_names)


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("queue", "--help"), ("serve", "--help")])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    loaded = {name for name in loaded_by(*arguments) if not name.startswith(("__", "_distutils"))}
    assert {"click", "mailbridge"} <= loaded
    assert loaded <= {"click", "mailbridge", "colorama"}


def test_the_daemon_starts_without_what_it_needs_later() -> None:
    program = "import sys, mailbridge.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=True)
    later = {"fpdf", "uharfbuzz", "pypdfium2", "PIL", "alembic", "psycopg", "pymap"}
    assert not later & {name.split(".")[0] for name in done.stdout.split()}


def test_a_worker_loads_neither_the_database_nor_the_network() -> None:
    """Each start of the daemon waits until the fork server has loaded everything that a worker will need."""
    program = "import sys, mailbridge.submission.fork_server, mailbridge.submission.worker; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=True)
    heavy = {"sqlalchemy", "sqlite3", "httpx", "aiosmtpd", "aioimaplib", "structlog", "starlette", "phonenumbers"}
    assert not heavy & {name.split(".")[0] for name in done.stdout.split()}
