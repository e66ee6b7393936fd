"""What `check` finds although the configuration is valid: access of the service's user, and certificates that expire."""

from __future__ import annotations

import datetime as dt
import json
import os
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mailbridge.config import load
from mailbridge.config.certificate import expiry, not_after
from mailbridge.config.service import access_errors, expiry_errors
from tests.integration.cli_fixtures import run, write_config

NOW = dt.datetime(2026, 11, 26, 12, tzinfo=dt.UTC)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


def write_certificate(folder: Path, end: dt.datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fax.example.co.il")])
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(dt.datetime(1960, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    kind = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*kind))


def tls(folder: Path) -> str:
    return f'[smtp.tls]\ncertificate = "{folder}/cert.pem"\nkey = "{folder}/key.pem"\n'


@pytest.mark.parametrize("year", [1961, 2026, 2049, 2050, 2105, 9999])
def test_expiry_is_read_from_a_certificate_of_any_year(tmp_path: Path, year: int) -> None:
    end = dt.datetime(year, 12, 24, 23, 59, 58, tzinfo=dt.UTC)
    write_certificate(tmp_path, end)
    assert expiry(tmp_path / "cert.pem") == end


@pytest.mark.parametrize("content", ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_expiry_of_what_is_not_a_certificate_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "cert.pem").write_text(content)
    assert expiry(tmp_path / "cert.pem") is None


def test_a_certificate_cut_off_anywhere_is_an_error_of_its_own(tmp_path: Path) -> None:
    write_certificate(tmp_path, NOW)
    der = ssl.PEM_cert_to_DER_cert((tmp_path / "cert.pem").read_text())
    for length in range(len(der)):
        with pytest.raises((ValueError, IndexError)):
            not_after(der[:length])


@pytest.mark.parametrize(
    ("days", "fault"), [(15, None), (13, "expires on 2026-12-09, in 13 days"), (-1, "expired on 2026-11-25")]
)
def test_certificate_that_has_expired_or_expires_within_14_days(tmp_path: Path, days: int, fault: str | None) -> None:
    write_certificate(tmp_path, NOW + dt.timedelta(days=days))
    config = load(write_config(tmp_path, tls(tmp_path)), {})
    assert [error.fault for error in expiry_errors(config, NOW)] == ([f"{tmp_path}/cert.pem {fault}"] if fault else [])


def test_check_fails_for_an_expired_certificate_with_which_the_service_starts(tmp_path: Path) -> None:
    write_certificate(tmp_path, dt.datetime.now(dt.UTC) - dt.timedelta(days=1))
    config = write_config(tmp_path, tls(tmp_path))
    load(config, {})
    done = run("check", "--config", config)
    assert (done.status, done.output) == (78, "")
    assert "smtp.tls.certificate: " in done.errors
    assert "expired on" in done.errors
    checked = json.loads(run("check", "--config", config, "--json").output)
    assert (checked["ok"], [one["key"] for one in checked["mistakes"]]) == (False, ["smtp.tls.certificate"])


def test_check_fails_for_a_key_of_another_certificate(tmp_path: Path) -> None:
    write_certificate(tmp_path, NOW)
    key = (tmp_path / "key.pem").read_bytes()
    write_certificate(tmp_path, NOW)
    (tmp_path / "key.pem").write_bytes(key)
    done = run("check", "--config", write_config(tmp_path, tls(tmp_path)))
    assert (done.status, "certificate and key cannot be used" in done.errors) == (78, True)


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ('[user.anna]\npassword_hash = "scrypt$16384$8$1$c2FsdA==$aGFzaA=="\n', 78),
        ("", 78),
        ('[user.scanner]\nnetworks = ["192.168.1.20"]\n', 0),
    ],
    ids=["password without TLS", "no users", "networks"],
)
def test_check_fails_where_nobody_from_outside_could_send(tmp_path: Path, more: str, status: int) -> None:
    config = write_config(tmp_path, more)
    text = config.read_text().replace('listen = ["127.0.0.1:0"]', 'listen = ["0.0.0.0:2525"]', 1)
    config.write_text(text)
    done = run("check", "--config", config)
    assert done.status == status, done.errors
    assert ("is valid" in done.output) == (status == 0)


@needs_root
def test_files_that_the_service_cannot_read_are_named_by_key(tmp_path: Path) -> None:
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    folder.chmod(0o755)
    try:
        write_certificate(folder, NOW + dt.timedelta(days=365))
        for name, content in (("secret", "hunter2-hunter2"), ("contacts.csv", "leumi,03-9876543\n")):
            (folder / name).write_text(content)
        config = write_config(folder, f'[contacts]\nfile = "{folder}/contacts.csv"\n' + tls(folder))
        text = config.read_text().replace('password = "hunter2-office"', f'password = {{ file = "{folder}/secret" }}')
        config.write_text(text)
        for path in folder.iterdir():
            path.chmod(0o700 if path.is_dir() else 0o600)
        done = run("check", "--config", config, "--user", "nobody")
        assert (done.status, done.output) == (78, "")
        keys = ["account.office.password", "contacts.file", "smtp.tls.certificate", "smtp.tls.key", "state_dir", str(config)]
        assert sorted(line.split(": ")[1] for line in done.errors.splitlines()) == sorted(keys)
        assert os.geteuid() == 0
        for path in folder.iterdir():
            path.chmod(0o777 if path.is_dir() else 0o644)
        assert run("check", "--config", config, "--user", "nobody").status == 0
        assert run("check", "--config", config, "--user", "no-such-user").status == 2
        tree = {"account": {"office": {"password": {"file": "/nowhere"}}}, "contacts": {"file": "/also-nowhere"}}
        found = [error.key for error in access_errors(config, tree, load(config, {}), "nobody")]
        assert found == ["account.office.password"]
    finally:
        subprocess.run(["rm", "-r", str(folder)], check=True)
