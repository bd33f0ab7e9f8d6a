"""Where the centre keeps its things and which doors it opens. Read once, validated whole, passed in."""

import fcntl
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from shared.audit.tlog.keys import KeyType, NoteKey
from shared.enrolment.exchange import ADDRESS_PATTERN, MAX_PEM_CHARS, PEM_PATTERN
from shared.errors import Malformed, Refused

DEFAULT_MQTT_PORT = 8883
_TIME_AUTHORITY = r"https?://[!-~]{1,200}"
_WITNESS_URL = re.compile(rf"https?://({ADDRESS_PATTERN})(?::[1-9][0-9]{{0,4}})?(?:/[!-~]*)?")
ROOT_KEY_CREDENTIAL = "leadglass-server.root.key"


class SettingRefused(Refused):
    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"setting {name}: {why}")
        self.name, self.why = name, why


class DataInUse(Refused):
    def __init__(self, data: Path) -> None:
        super().__init__(f"{data} is in use by another control plane process; one at a time works on a data folder")
        self.data = data


@dataclass(frozen=True)
class Folders:
    """The data folder's parts. What lies in the folder of `root_key` no backup may hold.

    `given_url` is that of the database, which may hold a password; None: as noted in `noted_url`, else `database`.
    `handed_root_key` is the file in which systemd hands the root key over, None: it lies in `root_key`.
    """

    data: Path
    given_url: str | None = field(default=None, repr=False)
    handed_root_key: Path | None = None

    @property
    def database(self) -> Path:
        return self.data / "db" / "leadglass.sqlite"

    @property
    def noted_url(self) -> Path:
        return self.data / "db" / "url"

    @property
    def objects(self) -> Path:
        return self.data / "objects"

    @property
    def incoming(self) -> Path:
        return self.data / "incoming"

    @property
    def root_key(self) -> Path:
        return self.data / "root-key" / "root.key"

    @property
    def root_key_now(self) -> Path:
        """Where the root key is read from."""
        return self.handed_root_key or self.root_key

    @property
    def log_mark(self) -> Path:
        return self.root_key.parent / "log.mark"

    @property
    def log_head(self) -> Path:
        return self.root_key.parent / "log.head"

    @property
    def revoked(self) -> Path:
        return self.root_key.parent / "revoked.json"

    @property
    def erased(self) -> Path:
        return self.root_key.parent / "erased.json"

    @property
    def broker(self) -> Path:
        return self.data / "broker"

    def make(self) -> None:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.database.parent, self.objects, self.incoming, self.broker):
            folder.mkdir(mode=0o700, exist_ok=True)

    @contextmanager
    def sole_use(self) -> Iterator[None]:
        """Keep other control plane processes out while the block runs; the kernel lets go when this process ends.

        Raises DataInUse.
        """
        descriptor = os.open(self.data, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as exc:
            raise DataInUse(self.data) from exc
        finally:
            os.close(descriptor)


def handed_root_key(environment: Mapping[str, str]) -> Path | None:
    """Return the file in which systemd hands the root key over (LoadCredential=), None: it does not."""
    folder = environment.get("CREDENTIALS_DIRECTORY", "")
    file = Path(folder) / ROOT_KEY_CREDENTIAL
    return file if folder and file.is_file() else None


def verify_host_name(host: str) -> None:
    """Raises SettingRefused: it would fit no certificate or address; an IPv6 address stands in brackets."""
    if not re.fullmatch(ADDRESS_PATTERN, host):
        raise SettingRefused("host", f"{host!r} is not a DNS name, an IPv4 address, or an IPv6 address in brackets")


@dataclass(frozen=True)
class OutsideBroker:
    """A broker that others run. Its certificate is one of `ca`, PEM; None: of the centre's own authority."""

    host: str
    port: int
    ca: str | None = None


def outside_broker(url: str, ca_file: Path | None = None) -> OutsideBroker:
    """Read `mqtts://host:port` and the file with its authority. Raises SettingRefused."""
    found = re.fullmatch(rf"mqtts://({ADDRESS_PATTERN})(?::([0-9]{{1,5}}))?/?", url)
    if found is None:
        raise SettingRefused("broker", f"{url!r} is not mqtts://HOST:PORT; without TLS no broker is used")
    port = int(found[2] or DEFAULT_MQTT_PORT)
    if not 1 <= port <= 65_535:
        raise SettingRefused("broker", f"{port} is no port")
    return OutsideBroker(found[1], port, None if ca_file is None else _certificate(ca_file))


def _certificate(file: Path) -> str:
    """Read one certificate as hosts take it. Raises SettingRefused."""
    try:
        pem = file.read_text(encoding="ascii").replace("\r\n", "\n").strip() + "\n"
        ssl.create_default_context(cadata=pem)
    except (OSError, ValueError) as exc:
        raise SettingRefused("broker_ca", f"{file} cannot be read as a certificate in PEM: {exc}") from exc
    if len(pem) > MAX_PEM_CHARS or not re.fullmatch(PEM_PATTERN, pem):
        raise SettingRefused("broker_ca", f"{file} has to hold exactly one certificate and nothing else, in PEM")
    return pem


@dataclass(frozen=True)
class AskedWitness:
    """A witness by the C2SP protocol that is asked to cosign: where, and by which key it is known."""

    url: str
    key: NoteKey


@dataclass(frozen=True)
class Witnessing:
    """Who witnesses our log beside our hosts, and whose logs we witness: `logs` by the keys that sign them.

    Every `round_s` another checkpoint is shown to witnesses.
    """

    asked: tuple[AskedWitness, ...] = ()
    logs: tuple[NoteKey, ...] = ()
    round_s: float = 600


def witnessing(file: Path) -> Witnessing:
    """Read the file of witnesses: lines of `ask URL VKEY` and `log VKEY`, remarks after `#`. Raises SettingRefused."""
    asked, logs = list[AskedWitness](), list[NoteKey]()
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as exc:
        raise SettingRefused("witnesses", f"{file} cannot be read: {exc}") from exc
    for number, line in enumerate(lines, 1):
        words = [] if line.lstrip().startswith("#") else line.split()
        try:
            match words:
                case []:
                    continue
                case ["ask", url, vkey] if _WITNESS_URL.fullmatch(url):
                    asked.append(AskedWitness(url.rstrip("/"), _note_key(vkey, KeyType.COSIGNATURE)))
                case ["log", vkey]:
                    logs.append(_note_key(vkey, KeyType.ED25519))
                case _:
                    raise SettingRefused("witnesses", f"{file} line {number} is neither `ask URL VKEY` nor `log VKEY`")
        except Malformed as exc:
            raise SettingRefused("witnesses", f"{file} line {number}: {exc}") from exc
    if len({one.key.name for one in asked}) != len(asked) or len({key.name for key in logs}) != len(logs):
        raise SettingRefused("witnesses", f"{file} names a witness or a log twice")
    return Witnessing(tuple(asked), tuple(logs))


def _note_key(vkey: str, wanted: KeyType) -> NoteKey:
    key = NoteKey.parse(vkey)
    if key.type is not wanted:
        raise Malformed("note key", f"expected one of type {wanted.value}: cosignatures have type 4, logs have type 1")
    return key


@dataclass(frozen=True)
class Settings:
    """Ports of 0 are chosen by the system and told in the ready file. `host` is what hosts reach the centre by."""

    folders: Folders
    host: str = "127.0.0.1"
    host_port: int = 8442
    enrol_port: int = 8441
    people_host: str = "127.0.0.1"
    people_port: int = 8440
    mqtt_port: int = DEFAULT_MQTT_PORT
    with_broker: bool = True
    outside_broker: OutsideBroker | None = None  # instead of a broker of our own
    time_authority: str | None = None  # gives timestamps to what is signed as a PDF
    witnessing: Witnessing = field(default_factory=Witnessing)

    def __post_init__(self) -> None:
        verify_host_name(self.host)
        if self.time_authority is not None and not re.fullmatch(_TIME_AUTHORITY, self.time_authority):
            raise SettingRefused("time_authority", f"{self.time_authority!r} is not the http or https URL of one")
        try:
            loopback = ip_address(self.people_host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise SettingRefused("people_host", f"the people's door is plain HTTP and opens on loopback only, not on "
                                                f"{self.people_host}; reach it through an SSH tunnel")  # fmt: skip
