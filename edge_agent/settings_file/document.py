"""`/etc/leadglass/agent.toml`: what people settle about the agent of one host. TOML 1.0, at most 64 KiB.

    version = 1
    data = "/var/lib/leadglass"
    guard_socket = "/run/leadglass-guard/guard.sock"

    [dicom]
    host = "10.1.2.3"              where it listens for modalities
    port = 11112
    tls_port = 2762                optional: DICOM over TLS
    ae_title = "LEADGLASS"

    [network]                      optional: whom the service may talk to beside its centre
    modalities = ["10.1.2.0/24"]
    archives = ["10.9.0.7", "pacs.hospital"]

    [[export_folder]]              any number
    ae_title = "CT1"
    path = "/srv/ct1/export"

Only `version` has to be there. A key that is not known stops the start, and so does another version: an older one is
changed by `leadglass-provision migrate`, a newer one is for a newer program.
"""

import json
import re
import tomllib
from dataclasses import dataclass
from ipaddress import ip_network

from edge_agent.settings_file.lines import line_of
from shared.canonical import Json
from shared.errors import Malformed, Refused
from shared.fields import Fields
from shared.fleet.state import MAX_FOLDERS
from shared.policy.routes import AE_TITLE_PATTERN, HOST_PATTERN

VERSION = 1
FILE = "/etc/leadglass/agent.toml"
MAX_BYTES = 64 * 1024
_MAX_NETWORKS = 64
_MAX_PATH_CHARS = 1024
_PATH = r"/[^\x00-\x1f\x7f]*"
_MOST_PORT = 65_535


class OtherVersion(Refused):
    """The file is of a version that this program does not read; `what_to_do` is a sentence."""

    def __init__(self, file: str, found: int, known: int, what_to_do: str) -> None:
        super().__init__(f"{file} is of version {found}, and this program reads version {known}: {what_to_do}")
        self.file, self.found, self.known = file, found, known


@dataclass(frozen=True)
class NamedFolder:
    ae_title: str
    path: str


@dataclass(frozen=True)
class AgentSettings:
    """`modalities` and `archives` are networks, addresses or, of archives, names."""

    data: str = "/var/lib/leadglass"
    guard_socket: str = "/run/leadglass-guard/guard.sock"
    dicom_host: str = "127.0.0.1"
    dicom_port: int = 11112
    dicom_tls_port: int | None = None
    ae_title: str = "LEADGLASS"
    modalities: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()
    export_folders: tuple[NamedFolder, ...] = ()

    def text(self) -> str:
        """Return the file, with what a person has to know to change it."""
        tls = "# tls_port = 2762" if self.dicom_tls_port is None else f"tls_port = {self.dicom_tls_port}"
        lines = [
            "# The agent of this host. After a change: leadglass-provision install, systemctl restart leadglass-agent",
            f"version = {VERSION}",
            f"data = {_quoted(self.data)}",
            f"guard_socket = {_quoted(self.guard_socket)}",
            "",
            "[dicom]",
            "# The address at which modalities reach this host; 127.0.0.1 is for software on this machine alone.",
            f"host = {_quoted(self.dicom_host)}",
            f"port = {self.dicom_port}",
            tls,
            f"ae_title = {_quoted(self.ae_title)}",
            "",
            "[network]",
            "# Beside the centre nobody but these can reach the agent, or be reached by it.",
            f"modalities = [{', '.join(map(_quoted, self.modalities))}]",
            f"archives = [{', '.join(map(_quoted, self.archives))}]",
        ]
        for folder in self.export_folders:
            lines += ["", "[[export_folder]]", f"ae_title = {_quoted(folder.ae_title)}"]
            lines.append(f"path = {_quoted(folder.path)}")
        return "\n".join(lines) + "\n"


class _Table(Fields):
    """The keys of one table; what is wrong with one is said with its line."""

    def __init__(self, value: Json, file: str, text: str, table: str = "", number: int = 0) -> None:
        self._where = (file, text, table, number)
        super().__init__(value, self._place(""))

    def choose(self, name: str, pattern: str, expected: str, default: str | None = None, *, most: int = 256) -> str:
        """Return a text that matches; `default` where the key is not there, None: it has to be."""
        if default is not None and not self.has(name):
            return default
        value = self._take(name)
        if not isinstance(value, str) or len(value) > most or not re.fullmatch(pattern, value):
            raise self._bad(name, f"expected {expected}")
        return value

    def port(self, name: str, default: int) -> int:
        return self.integer(name, most=_MOST_PORT) if self.has(name) else default

    def networks(self, name: str, *, or_names: bool) -> tuple[str, ...]:
        items = self.items(name, most=_MAX_NETWORKS) if self.has(name) else []
        for item in items:
            if not isinstance(item, str) or not (is_network(item) or (or_names and re.fullmatch(HOST_PATTERN, item))):
                also = ", or a name" if or_names else ""
                raise self._bad(name, f"expected networks such as 10.1.2.0/24, or addresses{also}")
        return tuple(map(str, items))

    def done(self) -> None:
        for name in self._left:
            raise self._bad(name[:64], "this key is not known")

    def _bad(self, name: str, why: str) -> Malformed:
        return Malformed(self._place(name), why)

    def _place(self, name: str) -> str:
        file, text, table, number = self._where
        line = line_of(text, table, number, name) if name else None
        place = file if line is None else f"{file} line {line}"
        return f"{place}, {f'[{table}] ' if table else ''}{name}".removesuffix(", ").rstrip()


def parse(data: bytes, file: str = FILE) -> AgentSettings:
    """Raises Malformed, naming file and line; OtherVersion."""
    text, value = _read(data, file)
    top = _Table(value, file, text)
    version = top.integer("version", least=1)
    if version != VERSION:
        raise OtherVersion(file, version, VERSION, _what_to_do(version))
    dicom = _Table(top.mapping("dicom", most=16) if top.has("dicom") else {}, file, text, "dicom")
    network = _Table(top.mapping("network", most=16) if top.has("network") else {}, file, text, "network")
    listed = top.items("export_folder", most=MAX_FOLDERS) if top.has("export_folder") else []
    plain = AgentSettings()
    settings = AgentSettings(
        data=top.choose("data", _PATH, "an absolute path", plain.data, most=_MAX_PATH_CHARS),
        guard_socket=top.choose("guard_socket", _PATH, "an absolute path", plain.guard_socket, most=100),
        dicom_host=dicom.choose("host", HOST_PATTERN, "an address or a name of this host", plain.dicom_host),
        dicom_port=dicom.port("port", plain.dicom_port),
        dicom_tls_port=dicom.port("tls_port", 0) if dicom.has("tls_port") else None,
        ae_title=_ae_title(dicom, plain.ae_title),
        modalities=network.networks("modalities", or_names=False),
        archives=network.networks("archives", or_names=True),
        export_folders=tuple(_folder(_Table(one, file, text, "export_folder", n)) for n, one in enumerate(listed)),
    )
    for table in (top, dicom, network):
        table.done()
    return settings


def version_of(data: bytes, file: str) -> int:
    """Return the version that a file says it is of, whatever else it says. Raises Malformed."""
    text, value = _read(data, file)
    return _Table(value, file, text).integer("version", least=1)


def is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _read(data: bytes, file: str) -> tuple[str, dict[str, Json]]:
    if len(data) > MAX_BYTES:
        raise Malformed(file, f"larger than {MAX_BYTES} bytes")
    try:
        text = data.decode()
        return text, tomllib.loads(text)
    except UnicodeDecodeError as exc:
        raise Malformed(f"{file} line {data[: exc.start].count(10) + 1}", "not UTF-8") from exc
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise Malformed(file, f"not TOML: {exc}") from exc


def _folder(table: _Table) -> NamedFolder:
    named = NamedFolder(_ae_title(table), table.choose("path", _PATH, "an absolute path", most=_MAX_PATH_CHARS))
    table.done()
    return named


def _ae_title(table: _Table, default: str | None = None) -> str:
    return table.choose("ae_title", AE_TITLE_PATTERN, "1 to 16 ASCII characters without backslash", default)


def _what_to_do(version: int) -> str:
    if version < VERSION:
        return "change it with `leadglass-provision migrate`, which keeps the old file"
    return f"install the newer leadglass-agent again, or put the file back that migrating kept (….v{VERSION})"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
