"""A private Dovecot for tests: its own configuration and files in a temporary directory, free loopback ports, any user `demo`."""

from __future__ import annotations

import contextlib
import grp
import imaplib
import ipaddress
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.loopback_ports import reserved_port
from tests.wait_helpers import PATIENCE

PASSWORD = "demo"
# Dovecot gives no mail to root, so root starts it as this ordinary user.
_ORDINARY = "nobody"

_CONFIG = """
protocols = imap
listen = 127.0.0.1
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/log
mail_location = maildir:~/Maildir
mail_home = {root}/mail/%u
mail_fsync = never
lock_method = fcntl
default_internal_user = {user}
default_login_user = {user}
default_internal_group = {group}
first_valid_uid = 1
auth_failure_delay = 0
disable_plaintext_auth = no
ssl = yes
ssl_cert = <{root}/cert.pem
ssl_key = <{root}/key.pem
passdb {{
  driver = passwd-file
  deny = yes
  args = {root}/refused
}}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={root}/mail/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  chroot =
  service_count = 0
  inet_listener imap {{
    port = {plain}
  }}
  inet_listener imaps {{
    port = {implicit}
  }}
}}
service stats {{
  chroot =
}}
service imap {{
  process_limit = 50
}}
"""

_OAUTH2 = """
auth_mechanisms = plain login xoauth2
auth_cache_size = 0
passdb {{
  driver = oauth2
  mechanisms = xoauth2
  args = {root}/oauth2.conf
}}
"""
_INTROSPECTION = """
introspection_mode = post
introspection_url = {url}
username_attribute = username
active_attribute = active
active_value = true
"""


def missing() -> str | None:
    """Return why Dovecot cannot be started here, or None."""
    return None if _program() else "the program `dovecot` is not installed (Debian: dovecot-imapd)"


def _program() -> str | None:
    return shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class Dovecot:
    """One Dovecot. `plain` (with STARTTLS) and `implicit` are its ports; `trusting` is a context that knows its certificate.

    Every user name has a mailbox of its own, made at the first login, with PASSWORD. `introspection` is the URL by which it asks
    whether an access token of XOAUTH2 is good.
    """

    def __init__(self, introspection: str | None = None) -> None:
        self._changes = 0
        self._refused: tuple[str, ...] = ()
        self.root = Path(
            tempfile.mkdtemp(prefix="dovecot-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT"))
        )  # in memory: conftest.py
        self._ports = contextlib.ExitStack()
        self.plain, self.implicit = (self._ports.enter_context(reserved_port()) for _ in range(2))
        self.user, self.group = _identity()
        for name in ("mail", "run", "state"):
            (self.root / name).mkdir(mode=0o755)
        self.refuse()
        _make_certificate(self.root)
        (self.root / "dovecot.conf").write_text(
            _CONFIG.format(
                root=self.root, user=self.user, group=self.group, password=PASSWORD, plain=self.plain, implicit=self.implicit
            )
        )
        if introspection is not None:
            (self.root / "oauth2.conf").write_text(_INTROSPECTION.format(url=introspection))
            with open(self.root / "dovecot.conf", "a") as config:
                config.write(_OAUTH2.format(root=self.root))
        if os.geteuid() == 0:
            for path in (self.root, *self.root.rglob("*")):
                shutil.chown(path, self.user, self.group)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.root / "cert.pem"))

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        program = _program()
        assert program is not None
        lower = {"user": self.user, "group": self.group, "extra_groups": []} if os.geteuid() == 0 else {}
        self._process = subprocess.Popen(
            [program, "-F", "-c", str(self.root / "dovecot.conf")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            **lower,  # type: ignore[call-overload]
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.plain), 1).close()
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Dovecot does not start: {self._words()}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it and every process of it."""
        if self._process is None:
            return
        # The master leaves idle sessions to end by themselves; the whole group gets the signal, so they say BYE and end now.
        os.killpg(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()
        self._process = None

    def refuse(self, *users: str) -> None:
        """Refuse the logins of these users, and of no others; return once it does so."""
        before, self._refused = self._refused, users
        path = self.root / "refused"
        path.write_text("".join(f"{user}\n" for user in users))
        # Dovecot notices a change by the file's time in seconds, and looks at most once a second.
        self._changes += 1
        os.utime(path, (1_700_000_000 + self._changes,) * 2)
        deadline = time.monotonic() + PATIENCE
        while any(self._lets_in(user) == (user in users) for user in {*before, *users}):
            assert time.monotonic() < deadline, "Dovecot does not read its list of refused users"
            time.sleep(0.05)

    def _lets_in(self, user: str) -> bool:
        client = imaplib.IMAP4("127.0.0.1", self.plain, timeout=PATIENCE)
        try:
            client.login(user, PASSWORD)
        except imaplib.IMAP4.error:
            return False
        finally:
            client.logout()
        return True

    def remove(self) -> None:
        """Stop it and delete its files."""
        self.stop()
        self._ports.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def client(self, user: str) -> imaplib.IMAP4:
        """Return a blocking client that is logged in and has INBOX open. The caller logs it out."""
        client = imaplib.IMAP4("127.0.0.1", self.plain, timeout=PATIENCE)
        client.login(user, PASSWORD)
        client.select()
        return client

    def deliver(self, user: str, *mails: bytes, folder: str = "INBOX") -> None:
        """Append mails as another client would, in order."""
        client = self.client(user)
        for mail in mails:
            status, words = client.append(folder, "", "", mail.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
            assert status == "OK", words
        client.logout()

    def maildir(self, user: str) -> Path:
        """Return where the mailbox lies on the disk."""
        return self.root / "mail" / user / "Maildir"

    def drop(self, user: str, mails: list[bytes]) -> None:
        """Deliver many mails at once, as files, in order."""
        new = self.maildir(user) / "new"
        owner = (new.stat().st_uid, new.stat().st_gid) if os.geteuid() == 0 else None
        for number, mail in enumerate(mails):
            path = new / f"{1_700_000_000 + number}.M{number}.test"
            path.write_bytes(mail)
            if owner is not None:
                os.chown(path, *owner)

    def _words(self) -> str:
        log = self.root / "log"
        self.stop()
        return log.read_text(errors="replace")[-2000:] if log.exists() else "it left no log"


@contextlib.contextmanager
def running(introspection: str | None = None) -> Iterator[Dovecot]:
    """Start a Dovecot and remove it afterwards."""
    dovecot = Dovecot(introspection)
    try:
        dovecot.start()
        yield dovecot
    finally:
        dovecot.remove()


def _identity() -> tuple[str, str]:
    user = pwd.getpwnam(_ORDINARY) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    return user.pw_name, grp.getgrgid(user.pw_gid).gr_name


def _make_certificate(root: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (root / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    (root / "key.pem").write_bytes(private)
    (root / "key.pem").chmod(0o600)
