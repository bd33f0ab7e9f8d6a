"""The `watch` section of a policy: what a host looks for on itself, and how often.  docs/formats/watch-policy.md

What has its default is left out of the JSON, so that a policy has one encoding.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_network

from shared import canonical
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields
from shared.policy.routes import address_range

LEAST_EVERY_S, MAX_EVERY_S = 10, 86_400
MAX_PROGRAMS, MAX_PEERS, MAX_FOLDERS = 64, 64, 16
MAX_PROGRAM_CHARS, MAX_FOLDER_CHARS = 100, 200
MAX_FREE_MIB = 1 << 30
MAX_DRIFT_MS = 86_400_000
MAX_BYTES = 128 * 1024
PROGRAM_PATTERN = rf"[^\x00-\x1f\x7f]{{1,{MAX_PROGRAM_CHARS}}}"
FOLDER_PATTERN = r"/|(/(?!\.{1,2}(/|$))[^/\x00-\x1f\x7f]+)+"


@dataclass(frozen=True)
class AllowedPeer:
    """An address or network, and the port of the service whichever side offers it; 0: any port."""

    addresses: str
    port: int = 0

    def holds(self, address: str, port: int) -> bool:
        return self.port in (0, port) and _within(address, self.addresses)

    def json(self) -> dict[str, Json]:
        members: dict[str, Json] = {"addresses": self.addresses}
        if self.port:
            members["port"] = self.port
        return members

    @classmethod
    def parse(cls, value: Json) -> "AllowedPeer":
        fields = Fields(value, "watch peer")
        peer = cls(
            address_range(fields.text("addresses", r"[0-9a-f.:/]+")),
            fields.integer("port", least=1, most=65_535) if fields.has("port") else 0,
        )
        fields.done()
        return peer


@dataclass(frozen=True)
class LeastFree:
    folder: str
    mib: int

    def json(self) -> dict[str, Json]:
        return {"folder": self.folder, "mib": self.mib}

    @classmethod
    def parse(cls, value: Json) -> "LeastFree":
        fields = Fields(value, "watch free")
        free = cls(
            fields.text("folder", FOLDER_PATTERN, max_chars=MAX_FOLDER_CHARS),
            fields.integer("mib", least=1, most=MAX_FREE_MIB),
        )
        fields.done()
        return free


@dataclass(frozen=True)
class WatchPolicy:
    """`processes` are the modality's programs and `peers` all that they may talk to; `forbidden` may not run.

    A program is written as its name or, beginning with a slash, as the path of its file; `*` stands for any
    characters and `?` for one. `encrypted` are folders, or nodes of disks, whose disk has to be encrypted.
    """

    every_s: int
    processes: tuple[str, ...] = ()
    peers: tuple[AllowedPeer, ...] = ()
    forbidden: tuple[str, ...] = ()
    encrypted: tuple[str, ...] = ()
    encrypted_swap: bool = False
    free: tuple[LeastFree, ...] = ()
    most_drift_ms: int = 0  # 0: the clock is not watched

    def json(self) -> dict[str, Json]:
        members: dict[str, Json] = {"every_s": self.every_s}
        for name in ("processes", "forbidden", "encrypted"):
            if texts := getattr(self, name):
                members[name] = list(texts)
        if self.peers:
            members["peers"] = [peer.json() for peer in self.peers]
        if self.encrypted_swap:
            members["encrypted_swap"] = True
        if self.free:
            members["free"] = [free.json() for free in self.free]
        if self.most_drift_ms:
            members["most_drift_ms"] = self.most_drift_ms
        return members

    @classmethod
    def parse(cls, fields: Fields) -> "WatchPolicy":
        """Raises Malformed: also where peers are listed and no process that may talk to them."""
        watch = cls(
            fields.integer("every_s", least=LEAST_EVERY_S, most=MAX_EVERY_S),
            _texts(fields, "processes", PROGRAM_PATTERN, MAX_PROGRAMS),
            tuple(map(AllowedPeer.parse, _items(fields, "peers", MAX_PEERS))),
            _texts(fields, "forbidden", PROGRAM_PATTERN, MAX_PROGRAMS),
            _texts(fields, "encrypted", FOLDER_PATTERN, MAX_FOLDERS),
            fields.flag("encrypted_swap") if fields.has("encrypted_swap") else False,
            tuple(map(LeastFree.parse, _items(fields, "free", MAX_FOLDERS))),
            fields.integer("most_drift_ms", most=MAX_DRIFT_MS) if fields.has("most_drift_ms") else 0,
        )
        fields.done()
        for name in ("processes", "peers", "forbidden", "encrypted"):
            _unique(name, getattr(watch, name))
        _unique("free", (free.folder for free in watch.free))
        if watch.peers and not watch.processes:
            raise Malformed("watch policy", "lists peers and no processes that may talk to them")
        return watch

    def encode(self) -> bytes:
        return canonical.encode(self.json())

    @classmethod
    def decode(cls, data: bytes) -> "WatchPolicy":
        """Read what `encode` prints. Raises Malformed."""
        if len(data) > MAX_BYTES:
            raise Malformed("watch policy", f"larger than {MAX_BYTES} bytes")
        watch = cls.parse(Fields(canonical.parse(data, "watch policy"), "watch policy"))
        if watch.encode() != data:
            raise Malformed("watch policy", "writes out a default; what has its default value is left out")
        return watch


def is_program(pattern: str, name: str, path: str) -> bool:
    """Whether a running program is the one written as `pattern`; of a name also the file's own counts."""
    if pattern.startswith("/"):
        return bool(_compiled(pattern).fullmatch(path))
    return any(_compiled(pattern).fullmatch(each) for each in (name, path.rpartition("/")[2]))


@lru_cache(maxsize=4 * MAX_PROGRAMS)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = (".*" if part == "*" else "." if part == "?" else re.escape(part) for part in re.split(r"([*?])", pattern))
    return re.compile("".join(parts), re.DOTALL)


@lru_cache(maxsize=1 << 14)
def _within(address: str, addresses: str) -> bool:
    found = ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found) in ip_network(addresses)


def _items(fields: Fields, name: str, most: int) -> list[Json]:
    return fields.items(name, most=most) if fields.has(name) else []


def _texts(fields: Fields, name: str, pattern: str, most: int) -> tuple[str, ...]:
    items = _items(fields, name, most)
    return tuple(Fields({name: item}, "watch policy").text(name, pattern, max_chars=MAX_FOLDER_CHARS) for item in items)


def _unique(name: str, values: Iterable[object]) -> None:
    listed = list(values)
    if len(set(listed)) != len(listed):
        raise Malformed("watch policy", f"lists one of {name} twice")
