"""The only reader of TOML, environment and credentials: a file becomes a frozen Config, or errors with key, fault and remedy."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator

from mailbridge.config_mistakes import mistake
from mailbridge.config_values import (
    Address,
    After,
    Domains,
    Duration,
    Every,
    Hash,
    Host,
    Port,
    Region,
    Rule,
    Secret,
    Size,
    Trust,
    Wait,
    WebhookSecrets,
    Zone,
    wrong,
)
from mailbridge.errors import ConfigError


def host_port(value: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`. Raises ValueError."""
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(value)
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _http_url(url: str, remedy: str) -> SplitResult:
    """Split an address that can be called."""
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and re.fullmatch(r"[^\s\x00-\x1f\x7f]+", url):
            return parts
    except ValueError:
        pass
    # Not the address itself: it may hold a secret.
    raise wrong("the url is no http address, or has a port that is none", remedy)


def _listen(value: object) -> object:
    try:
        host_port(str(value))
    except ValueError:
        raise wrong(
            f"{value!r} is no address to listen on", 'write host:port with a port from 0 to 65535, such as "127.0.0.1:2525"'
        ) from None
    return value


Listen = Annotated[str, BeforeValidator(_listen)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class StoreOptions(_Section):
    url: str | None = None

    @model_validator(mode="after")
    def _built(self) -> StoreOptions:
        # Its value is not repeated: it may hold a password.
        if self.url is not None:
            raise wrong(
                "store.url is for PostgreSQL, which this version does not speak yet",
                "remove it; faxes are kept in SQLite in state_dir",
            )
        return self


class Myfax(_Section):
    url: str = "https://www.myfax.co.il/action/"
    timeout: Wait = 120.0

    @model_validator(mode="after")
    def _tls(self) -> Myfax:
        parts = _http_url(self.url, "leave myfax.url out, or write the address that MyFax gave you")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise wrong(
                "myfax.url would send the password in clear", "write https://; plain http is for a stand-in on loopback only"
            )
        return self


class Account(_Section):
    email: Address
    password: Secret
    uploads: int = Field(default=1, ge=1, le=50)
    low_credit: int | None = Field(default=None, ge=0)


class Distributor(_Section):
    email: Address
    password: Secret


class SmtpTls(_Section):
    certificate: Path | None = None
    key: Path | None = None
    listen: tuple[Listen, ...] = ()

    @model_validator(mode="after")
    def _pair(self) -> SmtpTls:
        if (self.certificate is None) != (self.key is None):
            raise wrong("a certificate and its key go together", "set both smtp.tls.certificate and smtp.tls.key")
        if self.listen and self.certificate is None:
            raise wrong("smtp.tls.listen needs a certificate", "set smtp.tls.certificate and smtp.tls.key")
        for path in (self.certificate, self.key):
            if path is not None and not os.access(path, os.R_OK):
                raise wrong(f"{path} cannot be read", "check the path and that mailbridge's user may read it")
        if self.certificate is not None and self.key is not None:
            _check_pair(self.certificate, self.key)
        return self


def _check_pair(certificate: Path, key: Path) -> None:
    import ssl

    try:
        # Without a password of ours OpenSSL would ask the terminal for that of a locked key, and wait.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise wrong(
            f"certificate and key cannot be used ({error})",
            "give a PEM certificate and the key that belongs to it, the key without a password",
        ) from None


class Smtp(_Section):
    listen: tuple[Listen, ...] = ("127.0.0.1:2525",)
    hostname: str = Field(default_factory=socket.gethostname)
    domains: Domains = ("fax.local", "myfax.co.il")
    region: Region = "IL"
    max_size: Size = 40_000_000
    max_recipients: int = Field(default=100, ge=1)
    max_connections: int = Field(default=500, ge=1)
    max_connections_per_client: int = Field(default=50, ge=1)
    timeout: Wait = 300.0
    auth: Literal["auto", "required", "off"] = "auto"
    tls: SmtpTls = SmtpTls()

    @model_validator(mode="after")
    def _open_to_nobody(self) -> Smtp:
        public = [address for address in (*self.listen, *self.tls.listen) if not is_loopback(host_port(address)[0])]
        if self.auth == "off" and public:
            raise wrong(
                f'smtp.auth = "off" would let anyone who reaches {public[0]} fax at your expense',
                'write smtp.auth = "auto", or listen on 127.0.0.1 only',
            )
        return self


class User(_Section):
    password_hash: Hash
    account: str | None = None
    senders: tuple[str, ...] = ()
    allow: tuple[Rule, ...] | None = None
    daily_limit: int | None = Field(default=None, ge=0)


class Numbers(_Section):
    allow: tuple[Rule, ...] = ("IL",)
    deny: tuple[Rule, ...] = ("premium", "short")
    possible: bool = False


class Redial(_Section):
    times: int = Field(default=0, ge=0, le=20)
    every: Duration = 600.0


class FaxOptions(_Section):
    page: Literal["never", "auto", "always"] = "auto"
    on_doubt: Literal["hold", "fail", "resend"] = "hold"
    first_poll: Wait = 5.0
    slowest_poll: Wait = 300.0
    give_up: Wait = 86400.0
    redial: Redial = Redial()

    @model_validator(mode="after")
    def _slower(self) -> FaxOptions:
        if self.first_poll > self.slowest_poll:
            raise wrong("fax.first_poll is longer than fax.slowest_poll", "make fax.slowest_poll the longer one")
        return self


class Notice(_Section):
    on: tuple[Literal["failed", "in_doubt", "delivered"], ...] = ("failed", "in_doubt")
    relay: SecretStr | None = None
    sender: str | None = None


class OAuth2(_Section):
    token_url: str
    client_id: str
    client_secret: Secret | None = None
    scope: str | None = None
    refresh_token: Secret | None = None

    @model_validator(mode="after")
    def _tls(self) -> OAuth2:
        parts = urlsplit(self.token_url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
            raise wrong("token_url would send the client's secret in clear", "write the provider's https:// address")
        return self


class Mailbox(_Section):
    host: Host
    port: Port = 993
    tls: Literal["implicit", "starttls", "none"] = "implicit"
    username: str
    password: Secret | None = None
    oauth2: OAuth2 | None = None
    folder: str = "INBOX"
    after: After = "seen"
    trust: Trust = "dkim"
    from_: tuple[str, ...] = Field(default=("myfax.co.il",), alias="from")
    account: str | None = None

    @model_validator(mode="after")
    def _login(self) -> Mailbox:
        if (self.password is None) == (self.oauth2 is None):
            raise wrong("a mailbox logs in with one of password and oauth2", "set password, or the oauth2 table, not both")
        if self.tls == "none" and not is_loopback(self.host):
            raise wrong(f'tls = "none" would send the password to {self.host} in clear', 'write tls = "implicit" or "starttls"')
        if (self.tls, self.port) in (("starttls", 993), ("implicit", 143)):
            raise wrong(
                f'port {self.port} is not the one for tls = "{self.tls}"',
                'write port = 143 for "starttls", or 993 for "implicit"',
            )
        if self.after.lower() == f"move:{self.folder}".lower():
            raise wrong(f"after would move a mail to {self.folder}, where it is found again", "name another folder, keep or seen")
        return self


class Incoming(_Section):
    every: Every = 600.0


class Webhook(_Section):
    url: str
    secrets: WebhookSecrets = Field(alias="secret")
    events: tuple[str, ...] = ("*",)
    document: Literal["none", "link", "inline"] = "link"
    inline_limit: Size = 5_000_000
    timeout: Wait = 20.0
    allow_private: bool = False

    @model_validator(mode="after")
    def _https(self) -> Webhook:
        parts = _http_url(self.url, 'write the receiver\'s address, such as "https://crm.example.co.il/hooks/fax"')
        if parts.scheme == "http" and not self.allow_private:
            raise wrong("the url is plain http", "write https://, or set allow_private = true for a receiver in your own network")
        return self


class Http(_Section):
    listen: Listen = "127.0.0.1:8025"
    public_url: str | None = None

    @model_validator(mode="after")
    def _link(self) -> Http:
        if self.public_url is not None:
            _http_url(self.public_url, 'write http.public_url as receivers reach it, such as "https://fax.example.co.il"')
        return self


class Retention(_Section):
    documents: Duration = 7 * 86400.0
    records: Duration = 730 * 86400.0


class Log(_Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Config(_Section):
    """A whole configuration; attributes mirror the keys, durations are seconds and sizes bytes."""

    state_dir: Path = Path("/var/lib/mailbridge")
    timezone: Zone = "Asia/Jerusalem"
    language: Literal["he", "en"] = "he"
    store: StoreOptions = StoreOptions()
    myfax: Myfax = Myfax()
    accounts: dict[str, Account] = Field(alias="account", min_length=1)
    distributor: Distributor | None = None
    smtp: Smtp = Smtp()
    users: dict[str, User] = Field(default={}, alias="user")
    numbers: Numbers = Numbers()
    fax: FaxOptions = FaxOptions()
    notice: Notice = Notice()
    mailboxes: dict[str, Mailbox] = Field(default={}, alias="mailbox")
    incoming: Incoming = Incoming()
    webhooks: dict[str, Webhook] = Field(default={}, alias="webhook")
    http: Http = Http()
    retention: Retention = Retention()
    log: Log = Log()

    @property
    def default_account(self) -> str:
        """The first account of the file."""
        return next(iter(self.accounts))


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Read a configuration. Raises ConfigError for its first mistake, which has the `others`."""
    config, mistakes = _read(path, environ)
    if config is None:
        first, *others = mistakes
        first.others = tuple(others)
        raise first
    return config


def problems(path: Path, environ: Mapping[str, str]) -> list[ConfigError]:
    """Return every mistake of a configuration, none when it can be used."""
    return _read(path, environ)[1]


def _read(path: Path, environ: Mapping[str, str]) -> tuple[Config | None, list[ConfigError]]:
    try:
        # With the mark that Windows' Notepad begins a file with, or without.
        tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        return None, [
            ConfigError(str(path), f"cannot be read ({error.strerror})", "name the file with --config or MAILBRIDGE_CONFIG")
        ]
    except UnicodeDecodeError:
        return None, [ConfigError(str(path), "is not UTF-8", "save it as UTF-8")]
    except tomllib.TOMLDecodeError as error:
        remedy = 'mend that line: text stands in "quotes", and each table and key once'
        return None, [ConfigError(str(path), f"is no TOML: {error}", remedy)]
    mistakes: list[ConfigError] = []
    tree = _resolve(tree, (), environ, mistakes)
    mistakes += _nameless(tree)
    if "STATE_DIRECTORY" in environ:
        tree.setdefault("state_dir", environ["STATE_DIRECTORY"].split(":")[0])
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        known = {one.key for one in mistakes}
        found = [mistake(detail, Config) for detail in error.errors(include_url=False)]
        return None, mistakes + [one for one in found if one.key not in known]
    return (None if mistakes else config), mistakes


def _nameless(tree: Mapping[str, Any]) -> Iterator[ConfigError]:
    """Yield a mistake for each user and mailbox whose account is no account of the file."""
    accounts = tree.get("account")
    if not isinstance(accounts, dict):
        return
    for noun in ("user", "mailbox"):
        section = tree.get(noun)
        for name, entry in section.items() if isinstance(section, dict) else ():
            account = entry.get("account") if isinstance(entry, dict) else None
            if isinstance(account, str) and account not in accounts:
                yield ConfigError(f"{noun}.{name}.account", f"{account!r} is no account", f"write one of {', '.join(accounts)}")


def _resolve(value: Any, path: tuple[str, ...], environ: Mapping[str, str], mistakes: list[ConfigError]) -> Any:
    """Replace every `{ file | env | credential = … }` below `value` by the secret it points at."""
    if isinstance(value, list):
        return [_resolve(item, path, environ, mistakes) for item in value]
    if not isinstance(value, dict):
        return value
    if path and path[-1] in _SECRET_KEYS and (len(value) == 1 or (value and value.keys() <= _PLACES)):
        try:
            if len(value) > 1:
                raise ConfigError("", "a secret comes from one place", f"leave one of {', '.join(value)}")
            [(kind, name)] = value.items()
            return _secret(kind, name, environ)
        except ConfigError as error:
            mistakes.append(ConfigError(".".join(path), error.fault, error.remedy))
            # Not empty, so that what pydantic says of this key's neighbours is heard as well.
            return "unknown"
    return {key: _resolve(item, (*path, key), environ, mistakes) for key, item in value.items()}


_SECRET_KEYS = ("password", "secret", "client_secret", "refresh_token", "relay", "password_hash")
_PLACES = {"file", "env", "credential"}


def _secret(kind: str, name: object, environ: Mapping[str, str]) -> str:
    if kind == "env":
        if str(name) not in environ:
            raise ConfigError(
                "",
                f"the environment has no {name}",
                f"set {name} (for the service in /etc/mailbridge/environment), or use {{ file = … }}",
            )
        return environ[str(name)]
    if kind not in _PLACES:
        raise ConfigError(
            "", f"{kind!r} is no place for a secret", "write { file = PATH }, { env = NAME } or { credential = NAME }"
        )
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if kind == "credential" and directory is None:
        raise ConfigError(
            "",
            "there are no systemd credentials here",
            f"run as the service, with {name} in /etc/mailbridge/credentials or LoadCredential={name}:PATH in its unit",
        )
    place = Path(str(name)) if kind == "file" else _credential(Path(str(directory)), str(name))
    try:
        return place.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(
            "", f"{place} cannot be read ({why})", "check the path and that mailbridge's user may read it"
        ) from None


def _credential(directory: Path, name: str) -> Path:
    """Return a credential's file: systemd puts the unit's id before the names of those that it loads from a whole folder."""
    whole = directory / f"mailbridge_{name}"
    return whole if whole.exists() and not (directory / name).exists() else directory / name
