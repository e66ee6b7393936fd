"""The files that a configuration names are checked after the model is built, which reads none of them."""

from __future__ import annotations

import sys
from pathlib import Path

from mailbridge.config import Config, problems
from mailbridge.config.files import file_errors
from tests.integration.scripted_servers import certificate
from tests.unit.config.test_loader import MINIMAL


def config_with(cert: Path, key: Path) -> Config:
    tree = {
        "account": {"office": {"email": "office@example.co.il", "password": "secret-password"}},
        "smtp": {"tls": {"certificate": cert, "key": key}},
    }
    return Config.model_validate(tree)


def faults(config: Config) -> list[tuple[str, str]]:
    return [(error.key, error.fault) for error in file_errors(config)]


def test_the_model_touches_no_file(tmp_path: Path) -> None:
    """Not even a path that exists: an audit event would say so."""
    seen: list[str] = []
    watching = True

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event.startswith(("open", "os.")) and str(tmp_path) in str(arguments[0]):
            seen.append(event)

    certificate(tmp_path)
    sys.addaudithook(audit)
    config = config_with(tmp_path / "cert.pem", tmp_path / "key.pem")
    assert seen == []
    (tmp_path / "cert.pem").read_bytes()
    watching = False
    assert seen == ["open"], "the hook sees files"
    assert faults(config) == []


def test_a_missing_certificate_is_an_error(tmp_path: Path) -> None:
    config = config_with(tmp_path / "missing.pem", tmp_path / "key.pem")
    assert faults(config) == [("smtp.tls", f"{tmp_path}/missing.pem cannot be read")]


def test_a_key_of_another_certificate_is_an_error(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        certificate(tmp_path / name)
    [(key, fault)] = faults(config_with(tmp_path / "one/cert.pem", tmp_path / "other/key.pem"))
    assert (key, "cannot be used" in fault) == ("smtp.tls", True)


def test_file_errors_come_with_those_of_secrets(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    secret = '{ env = "NOBODY_SET_THIS" }'
    tls = f'[smtp.tls]\ncertificate = "{tmp_path}/missing.pem"\nkey = "{tmp_path}/missing.pem"\n'
    path.write_text(MINIMAL.replace('"secret-password"', secret) + tls)
    assert [error.key for error in problems(path, {})] == ["account.office.password", "smtp.tls"]
