"""Postfix and Exim as relays for tests: on loopback, in a directory of their own, never as the system's service.

Debian's packages of the two exclude each other, so Postfix is installed, and `.ci/run` unpacks Exim in EXIM's directory.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.loopback_ports import reserved_port
from tests.wait_helpers import PATIENCE

POSTFIX = "/usr/sbin/postfix"
EXIM = Path("/opt/mailbridge-tests/usr/sbin/exim4")
_MAIN = """
compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = loopback-only
inet_protocols = ipv4
myhostname = relay.example
mynetworks = 127.0.0.0/8
mydestination =
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = example.co.il
virtual_mailbox_base = {root}/mail
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
maillog_file = {root}/log
maillog_file_prefixes = {root}
smtpd_discard_ehlo_keywords = {discard}
smtputf8_enable = yes
smtpd_relay_restrictions = permit_mynetworks, reject
in_flow_delay = 0
"""
_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
_EXIM = """
primary_hostname = relay.example
exim_path = {exim}
spool_directory = {root}/spool
log_file_path = {root}/%slog
pid_file_path = {root}/pid
exim_user = nobody
exim_group = nogroup
never_users =
acl_smtp_rcpt = accept_all
acl_smtp_data = accept_all
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
tls_advertise_hosts =
host_lookup =
rfc1413_hosts =
begin acl
accept_all:
  accept
begin routers
all:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  directory = {root}/mail/all
  maildir_format
  create_directory
  user = nobody
  group = nogroup
  return_path_add
"""


@dataclass
class MailServer:
    """A relay that listens on `port`, and keeps what it delivers in a maildir."""

    root: Path
    port: int

    def mails(self, count: int) -> list[bytes]:
        """Return what was delivered, once there are `count` mails, without the fields that the server added in front."""
        deadline = time.monotonic() + PATIENCE
        folder = self.root / "mail/all/new"
        while len(found := sorted(folder.glob("*"))) < count:
            assert time.monotonic() < deadline, (self.root / "log").read_text() if (self.root / "log").exists() else "no mail"
            time.sleep(0.02)
        return [path.read_bytes() for path in found]

    @staticmethod
    def parsed(mail: bytes) -> EmailMessage:
        return message_from_bytes(mail, policy=policy.default)


@contextmanager
def _directory() -> Iterator[Path]:
    """A directory that other users may enter, which pytest's are not."""
    root = Path(tempfile.mkdtemp(prefix="mailbridge-relay-"))
    root.chmod(0o755)
    try:
        (root / "mail").mkdir()
        _give(root / "mail", "nobody")
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _give(path: Path, user: str) -> None:
    entry = pwd.getpwnam(user)
    os.chown(path, entry.pw_uid, entry.pw_gid)


def _need(program: str | Path, name: str) -> None:
    if os.geteuid() != 0 or not Path(program).exists():
        pytest.skip(f"this machine has no {name}, or the tests do not run as root")


@contextmanager
def postfix_running(discard: str = "") -> Iterator[MailServer]:
    """Run Postfix; `discard` are extensions of SMTP that it does not offer."""
    _need(POSTFIX, "Postfix")
    with _directory() as root, reserved_port() as port:
        for name, owner in (("queue", "root"), ("data", "postfix"), ("etc", "root")):
            (root / name).mkdir()
            _give(root / name, owner)
        (root / "etc/main.cf").write_text(_MAIN.format(root=root, discard=discard))
        (root / "etc/master.cf").write_text(_MASTER.format(port=port))
        command = [POSTFIX, "-c", str(root / "etc")]
        subprocess.run([*command, "start"], check=True, capture_output=True, timeout=PATIENCE)
        try:
            yield MailServer(root, port)
        finally:
            subprocess.run([*command, "stop"], check=False, capture_output=True, timeout=PATIENCE)


@contextmanager
def exim_running() -> Iterator[MailServer]:
    """Run Exim."""
    _need(EXIM, "Exim")
    with _directory() as root, reserved_port() as port:
        (root / "spool").mkdir()
        _give(root / "spool", "nobody")
        _give(root, "nobody")
        config = root / "exim.conf"
        config.write_text(_EXIM.format(root=root, exim=EXIM))
        config.chmod(0o644)
        arguments = [str(EXIM), "-C", str(config), "-bdf", "-oX", f"127.0.0.1.{port}"]
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_for(port)
            yield MailServer(root, port)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _wait_for(port: int) -> None:
    import socket

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return
