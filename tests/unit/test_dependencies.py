"""Attack 19: no library with a known hole is admitted, and the service is installed from exactly the files that were named."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REQUIRED = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
OPTIONAL = [Requirement(line) for lines in PROJECT["project"]["optional-dependencies"].values() for line in lines]
BUILD = [Requirement(line) for line in PROJECT["build-system"]["requires"]]
_ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)[^\n]*\\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE)
# The last version with the hole.
HOLES = {
    "aiosmtpd": "1.4.5",  # CVE-2024-34083
    "h11": "0.15.0",  # CVE-2025-43859
    "idna": "3.6",  # CVE-2024-3651
    "starlette": "0.49.0",  # CVE-2025-62727
    "python-multipart": "0.0.21",  # CVE-2026-24486
    "Jinja2": "3.1.5",  # CVE-2025-27516
    "dnspython": "2.6.0",  # CVE-2023-29483
    "Pillow": "12.1.0",  # CVE-2026-25990
    "setuptools": "78.1.0",  # CVE-2025-47273
    "cryptography": "46.0.4",  # CVE-2026-26007
}


def named() -> dict[str, str]:
    """Return the version of each library in systemd/constraints.txt."""
    content = (ROOT / "systemd" / "constraints.txt").read_text(encoding="utf-8")
    found = {str(canonicalize_name(name)): version for name, version, _ in _ENTRY.findall(content)}
    # Every line belongs to an entry with hashes.
    rest = _ENTRY.sub("", content)
    assert [line for line in rest.splitlines() if not line.startswith("#")] == []
    return found


def needed() -> dict[str, Requirement]:
    """Return what the service needs, also through other libraries, by what is installed here."""
    found: dict[str, Requirement] = {}
    waiting = list(REQUIRED)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found[name] = requirement
        try:
            waiting += [Requirement(line) for line in distribution(name).requires or ()]
        except PackageNotFoundError:  # pragma: no cover
            continue
    return found


@pytest.mark.parametrize("name", HOLES)
def test_attack_19_versions_with_a_known_hole_are_not_admitted(name: str) -> None:
    bounds = [one for one in (*REQUIRED, *OPTIONAL, *BUILD) if canonicalize_name(one.name) == canonicalize_name(name)]
    assert bounds
    assert [str(one) for one in bounds if HOLES[name] in one.specifier] == []


def test_attack_19_every_library_of_the_service_is_named_with_hashes() -> None:
    """If this fails: pip install uv, and run systemd/lock."""
    versions = named()
    assert sorted(needed().keys() - versions.keys()) == []
    assert "setuptools" in versions  # it builds the package
    for requirement in (*REQUIRED, *BUILD):
        assert versions[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_attack_19_what_is_installed_here_fits_the_bounds() -> None:
    for requirement in REQUIRED:
        assert Version(distribution(requirement.name).version) in requirement.specifier, requirement


def test_attack_19_the_readme_installs_the_service_by_hash() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.count("--require-hashes -r systemd/constraints.txt") == 2  # installation and upgrade
    assert readme.count("--no-deps --no-build-isolation .") == 2
