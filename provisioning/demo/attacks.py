"""What somebody does who has the control plane's disk and database, but not the root key: each attack, and its undoing.

Every attack is a block: on entering it the store is changed, on leaving it stands as before, byte for byte. None of
them goes through Leadglass's own code for storing things; they write rows and files as an intruder would.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import BytesIO
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from shared import canonical, clock
from shared.audit.record import leaf_hash
from shared.identity import HostId, ObjectId
from shared.sealing import object_file
from shared.sealing.binding import Binding
from shared.sealing.chunked import HEADER_BYTES, SEALED_CHUNK_BYTES
from shared.sealing.hpke import SealedBox, SealingPublicKey
from shared.sealing.index import IndexEntry
from shared.sealing.record import verify_record
from shared.sealing.seal import ObjectSealer, Sealing, StreamSink
from shared.signing import EvidencePublicKey, SoftwareSigner

_BUSY_TIMEOUT_S = 30
_DATA_KEY, _INDEX_KEY = "data/restricted/1", "index/-/1"


class Store:
    """The control plane's data folder, in the hands of an intruder."""

    def __init__(self, data: Path) -> None:
        self._objects = data / "objects"
        self._database = data / "db" / "leadglass.sqlite"

    def body(self, object_id: str) -> Path:
        return self._objects / object_id[:2] / f"{object_id}.body"

    def body_bytes(self, object_id: str) -> int:
        return self.body(object_id).stat().st_size

    @contextmanager
    def other_body(self, object_id: str, body: bytes) -> Iterator[None]:
        path = self.body(object_id)
        before = path.read_bytes()
        path.write_bytes(body)
        try:
            yield
        finally:
            path.write_bytes(before)

    @contextmanager
    def flipped_bit(self, object_id: str) -> Iterator[None]:
        """Change one bit in the middle of the first chunk."""
        body = bytearray(self.body(object_id).read_bytes())
        middle = min(HEADER_BYTES + SEALED_CHUNK_BYTES, len(body))
        body[(HEADER_BYTES + middle) // 2] ^= 0x01
        with self.other_body(object_id, bytes(body)):
            yield

    @contextmanager
    def cut_at_a_chunks_end(self, object_id: str) -> Iterator[None]:
        """Take away the last chunk whole, so that what is left ends exactly where a chunk does."""
        body = self.body(object_id).read_bytes()
        whole_chunks = (len(body) - HEADER_BYTES) // SEALED_CHUNK_BYTES
        if whole_chunks < 1:
            raise ValueError(f"object {object_id} has one chunk only and no chunk's end to be cut at")
        with self.other_body(object_id, body[: HEADER_BYTES + whole_chunks * SEALED_CHUNK_BYTES]):
            yield

    @contextmanager
    def swapped_bodies(self, one: str, other: str) -> Iterator[None]:
        first, second = self.body(one).read_bytes(), self.body(other).read_bytes()
        with self.other_body(one, second), self.other_body(other, first):
            yield

    @contextmanager
    def swapped_wraps(self, one: str, other: str) -> Iterator[None]:
        columns = ("key_id", "wrap")
        first, second = self.read_row("wraps", columns, one), self.read_row("wraps", columns, other)
        with self.changed_row("wraps", columns, one, second), self.changed_row("wraps", columns, other, first):
            yield

    @contextmanager
    def replaced(self, object_id: str, by: str) -> Iterator[None]:
        """Put everything of one real object, validly signed, under the id of another."""
        parts, wrap = ("binding", "record", "record_sha256", "sealed_index", "body_bytes"), ("key_id", "wrap")
        with (
            self.other_body(object_id, self.body(by).read_bytes()),
            self.changed_row("objects", parts, object_id, self.read_row("objects", parts, by)),
            self.changed_row("wraps", wrap, object_id, self.read_row("wraps", wrap, by)),
        ):
            yield

    @contextmanager
    def forged(self, object_id: str, *, claims_host_key: bool = False, host_key_too: bool = False) -> Iterator[None]:
        """Put another image in the place of this one, consistent in itself: sealed to the real public keys, with the
        same ids and binding, and signed with a key of the intruder's.

        `claims_host_key` makes the signature name the host's key; `host_key_too` also replaces the key that the
        database notes for the host.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        forgery = self._forge(object_id, key)
        record = forgery.record
        host_id, spki = self._host_of(object_id)
        if claims_host_key:
            record = record.replace(SoftwareSigner(key).public.key_id.raw, EvidencePublicKey.parse(spki).key_id.raw, 1)
        columns = ("record", "sealed_index", "body_bytes")
        values = (record, forgery.index, len(forgery.body))
        wrap = (str(SealedBox.parse(forgery.wrap).key_id), forgery.wrap)
        other_spki = SoftwareSigner(key).public.spki if host_key_too else spki
        with (
            self.other_body(object_id, forgery.body),
            self.changed_row("objects", columns, object_id, values),
            self.changed_row("wraps", ("key_id", "wrap"), object_id, wrap),
            self.changed_row("hosts", ("evidence_spki",), host_id, (other_spki,)),
        ):
            yield

    @contextmanager
    def edited_record(self, source: str, seq: int, reason: str) -> Iterator[None]:
        """Rewrite what an audit record says, and the leaf hash noted beside it, so that the row fits itself."""
        where, ours = "source = ? AND seq = ?", (source, seq)
        with self._connected() as connection:
            (public, leaf) = connection.execute(
                f"SELECT public, leaf FROM audit_records WHERE {where}",  # noqa: S608 (constant text)
                ours,
            ).fetchone()
        record = canonical.parse(bytes(public), "audit record")
        assert isinstance(record, dict)  # noqa: S101 (it was parsed as one on arrival)
        edited = canonical.encode(record | {"reason": reason})
        try:
            self._set("audit_records", ("public", "leaf"), where, ours, (edited, leaf_hash(edited)))
            yield
        finally:
            self._set("audit_records", ("public", "leaf"), where, ours, (public, leaf))

    @contextmanager
    def policy_rolled_back(self, layer: str) -> Iterator[None]:
        """Take the newest publication out of the database, so that the centre itself serves the one before."""
        taken = []
        with self._connected() as connection:
            for role in ("timestamp", "snapshot", layer):
                newest = (
                    role,
                    connection.execute("SELECT max(version) FROM policy_metadata WHERE role = ?", (role,)).fetchone()[
                        0
                    ],
                )
                taken.append(
                    connection.execute(
                        "SELECT * FROM policy_metadata WHERE role = ? AND version = ?", newest
                    ).fetchone()
                )
                connection.execute("DELETE FROM policy_metadata WHERE role = ? AND version = ?", newest)
        try:
            yield
        finally:
            with self._connected() as connection:
                marks = ", ".join("?" * len(taken[0]))
                connection.executemany(f"INSERT INTO policy_metadata VALUES ({marks})", taken)  # noqa: S608 (marks)

    @contextmanager
    def changed_row(self, table: str, columns: tuple[str, ...], key: str, values: tuple[object, ...]) -> Iterator[None]:
        before = self.read_row(table, columns, key)
        self._set(table, columns, f"{_KEY[table]} = ?", (key,), values)
        try:
            yield
        finally:
            self._set(table, columns, f"{_KEY[table]} = ?", (key,), before)

    def read_row(self, table: str, columns: tuple[str, ...], key: str) -> tuple[object, ...]:
        with self._connected() as connection:
            found = connection.execute(
                f"SELECT {', '.join(columns)} FROM {table} WHERE {_KEY[table]} = ?",  # noqa: S608 (our own names)
                (key,),
            )
            row: tuple[object, ...] = found.fetchone()
        return row

    def _set(
        self, table: str, columns: tuple[str, ...], where: str, key: tuple[object, ...], values: tuple[object, ...]
    ) -> None:
        assignments = ", ".join(f"{column} = ?" for column in columns)
        with self._connected() as connection:
            changed = connection.execute(
                f"UPDATE {table} SET {assignments} WHERE {where}",  # noqa: S608 (our own names)
                (*values, *key),
            )
            if changed.rowcount != 1:
                raise LookupError(f"{changed.rowcount} rows of {table} are {key}, expected one")

    def _forge(self, object_id: str, key: ec.EllipticCurvePrivateKey) -> "_Forgery":
        (binding_bytes, signed) = self.read_row("objects", ("binding", "record"), object_id)
        assert isinstance(binding_bytes, bytes)  # noqa: S101 (BLOB columns)
        assert isinstance(signed, bytes)  # noqa: S101
        host_id, spki = self._host_of(object_id)
        binding, real = Binding.parse(binding_bytes), verify_record(signed, EvidencePublicKey.parse(spki))
        assert binding.object_id == ObjectId.parse(object_id)  # noqa: S101 (the intruder copies all ids)
        assert binding.host_id == HostId.parse(host_id)  # noqa: S101
        out = BytesIO()
        sealer = ObjectSealer(StreamSink(out), binding)
        sealer.update(b"another image of another patient".ljust(40_000, b"\0"))
        sealing = Sealing(
            real.grade,
            self._public(_DATA_KEY),
            self._public(_INDEX_KEY),
            real.policy_version,
            clock.parse(clock.text(real.captured)),
        )
        sealer.finish(sealing, IndexEntry(False, *[""] * 9), SoftwareSigner(key))
        parts = object_file.parse(out)
        body = out.getvalue()[parts.body_offset : parts.body_offset + parts.body_bytes]
        return _Forgery(body, parts.wrap, parts.index, parts.record)

    def _host_of(self, object_id: str) -> tuple[str, bytes]:
        (host_id,) = self.read_row("objects", ("host_id",), object_id)
        (spki,) = self.read_row("hosts", ("evidence_spki",), str(host_id))
        assert isinstance(spki, bytes)  # noqa: S101 (a BLOB column)
        return str(host_id), spki

    def _public(self, name: str) -> SealingPublicKey:
        (public,) = self.read_row("keys", ("public",), name)
        assert isinstance(public, bytes)  # noqa: S101 (a BLOB column)
        return SealingPublicKey(public)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._database, timeout=_BUSY_TIMEOUT_S)) as connection, connection:
            yield connection


_KEY = {"objects": "object_id", "wraps": "object_id", "hosts": "host_id", "keys": "name"}


class _Forgery:
    def __init__(self, body: bytes, wrap: bytes, index: bytes, record: bytes) -> None:
        self.body, self.wrap, self.index, self.record = body, wrap, index, record
