"""Makes one file of the records that answer a question, with all that proves them to whoever trusts nobody here."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path

from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log import sql
from control_plane.audit_log.finding import AuditFinding, FoundRecord, Place
from control_plane.audit_log.verify import HeldStatement
from control_plane.custody.statements import evidence_certificates
from control_plane.db.transactions import snapshot
from control_plane.erasure.private_parts import PrivateParts, State
from control_plane.tlog import rows
from control_plane.tlog.rows import LogAltered
from control_plane.witnesses.showing import NothingCosigned
from shared import canonical
from shared.audit.archive import manifest as parts
from shared.audit.archive.container import ArchiveWriter
from shared.audit.archive.manifest import MAX_RECORDS, File, Listed, Manifest, sign_manifest
from shared.audit.batch import MAX_RECORDS as MAX_BATCH
from shared.audit.question import Question
from shared.audit.record import SALT_BYTES
from shared.audit.tlog.checkpoint import TreeHead, claimed_head, verify_checkpoint
from shared.audit.tlog.keys import NoteKey
from shared.audit.tlog.proof_text import ProofText
from shared.audit.tlog.proofs import Nodes, make_consistency, make_inclusion, verify_consistency
from shared.audit.tlog.tiles import nodes_of
from shared.clock import Clock
from shared.custody.statement import LogProof
from shared.errors import Malformed, Refused
from shared.fields import encode_base64
from shared.signing import EvidenceSigner

_READMES = Path(__file__).parent / "archive_readme"
_PIECE_BYTES = 1 << 20
_MOST_CERTIFICATES = 16
_STATES = {
    State.NONE: parts.NONE,
    State.OPENS: parts.SEALED,
    State.ERASED: parts.ERASED,
    State.NOT_OPENABLE: parts.NOT_OPENABLE,
}


class TooMuchForAnArchive(Refused):
    def __init__(self) -> None:
        super().__init__(f"more than {MAX_RECORDS} records answer this; ask for a shorter time, or for less")


class Archiving:
    """`offer` says, in the centre's evidence key, by which key checkpoints are signed.

    `cosigned` returns the newest one that witnesses cosigned; raises NothingCosigned.
    """

    def __init__(
        self,
        database: sessionmaker[Session],
        finding: AuditFinding,
        private: PrivateParts,
        signer: EvidenceSigner,
        key: NoteKey,
        offer: Callable[[], bytes],
        cosigned: Callable[[], str],
        clock: Clock,
    ) -> None:
        self._database, self._finding, self._private = database, finding, private
        self._signer, self._key, self._offer, self._cosigned = signer, key, offer, cosigned
        self._clock = clock

    def make(
        self, person: str, question: Question, *, opened: bool = False, kept: str | None = None
    ) -> Iterator[bytes]:
        """Return the archive piece by piece, once it is recorded that it was asked for, and whole.

        Raises TooMuchForAnArchive, Malformed, NoteUnverified, ProofWrong: the log does not go on from the checkpoint
        that was kept; LogAltered, and what opening a private part raises where it was altered.
        """
        earlier = {} if kept is None else {parts.KEPT: kept}
        with suppress(NothingCosigned):
            earlier[parts.COSIGNED] = self._cosigned()
        with snapshot(self._database) as session:
            size, _, _ = rows.head(session)
        self._finding.note(person, question, f"archive, private parts {'opened' if opened else 'sealed'}")
        # In memory: nothing that names a patient is written to a disk here.
        file = BytesIO()
        with snapshot(self._database) as session:
            making = _Making(session, ArchiveWriter(file), self._private, opened=opened)
            self._fill(making, session, _Asked(person, question, size, earlier))
        return _pieces(file)

    def _fill(self, making: "_Making", session: Session, asked: "_Asked") -> None:
        size, _, checkpoint = rows.head(session)
        nodes = nodes_of(rows.reader(session))
        for readme in sorted(_READMES.iterdir()):
            making.add(readme.name, readme.read_bytes())
        making.add(parts.CHECKPOINT, checkpoint.encode())
        making.add(parts.KEY, self._offer())
        head = claimed_head(checkpoint)
        for folder, note in asked.earlier.items():
            older = verify_checkpoint(note, [self._key])
            if folder == parts.KEPT or older.size <= head.size:
                making.goes_on_from(folder, note, older, head, nodes)
        for number, found in enumerate(self._finding.all(session, asked.question, Place.first(asked.size))):
            if number == MAX_RECORDS:
                raise TooMuchForAnArchive
            making.record(found, size, checkpoint, nodes)
        making.signed()
        made = Manifest(
            made=self._clock.now(),
            by=asked.person,
            question=asked.question,
            asked_at=asked.size,
            origin=self._key.name,
            size=size,
            records=tuple(making.records),
            files=tuple(making.files),
        ).encode()
        making.end(made, sign_manifest(made, self._signer))


@dataclass(frozen=True)
class _Asked:
    """`size` is what the log had when it was asked; `earlier` checkpoints are what it has to go on from."""

    person: str
    question: Question
    size: int
    earlier: Mapping[str, str]


class _Making:
    def __init__(self, session: Session, writer: ArchiveWriter, private: PrivateParts, *, opened: bool) -> None:
        self._session, self._writer, self._private, self._opened = session, writer, private, opened
        self.files, self.records = list[File](), list[Listed]()
        # By the statement that covers them: the first record of each that is in the archive, and when it was signed.
        self._statements = dict[str, tuple[str, int, HeldStatement]]()
        self._times = dict[str, set[datetime]]()

    def add(self, name: str, data: bytes) -> None:
        self._writer.add(name, data)
        self.files.append(File.of(name, data))

    def goes_on_from(self, folder: str, note: str, older: TreeHead, head: TreeHead, nodes: Nodes) -> None:
        """Raises ProofWrong: this log does not go on from there."""
        path = make_consistency(older.size, head.size, nodes) if 0 < older.size <= head.size else []
        verify_consistency(older.size, head.size, path, older.root, head.root)
        self.add(f"{folder}/checkpoint", note.encode())
        lines = [f"old {older.size}", *(encode_base64(one) for one in path), ""]
        self.add(f"{folder}/consistency", "\n".join(lines).encode())

    def record(self, found: FoundRecord, size: int, checkpoint: str, nodes: Nodes) -> None:
        """Raises LogAltered."""
        private, salted = _STATES[found.private], None
        if self._opened and found.private is State.OPENS:
            private, salted = parts.OPENED, self._private.open(self._session, found.stored).salted
        listed = Listed(found.entry, found.source, found.seq, private, self._covered(found))
        try:
            path = make_inclusion(found.entry, size, nodes)
        except Malformed as exc:
            raise LogAltered(str(exc)) from exc
        self.add(listed.file("records"), found.stored.public)
        self.add(listed.file("proofs"), ProofText(found.entry, tuple(path), checkpoint).encode().encode())
        if salted is not None:
            self.add(listed.file("private"), salted[SALT_BYTES:])
            self.add(listed.file("salts"), salted[:SALT_BYTES].hex().encode())
        self.records.append(listed)

    def signed(self) -> None:
        """Add what sources signed about the records, and the certificates of their keys."""
        for name, (source, first, statement) in sorted(self._statements.items()):
            held = sql.records(self._session, source, first=first, last=statement.last)
            proof = LogProof(tuple(row.stored.public for row in held), statement.signed)
            self.add(name, canonical.encode(proof.json()))
        for source, times in sorted(self._times.items()):
            theirs = evidence_certificates(self._session, (source,), times, _MOST_CERTIFICATES)
            for number, certificate in enumerate(theirs, 1):
                self.add(f"certificates/{source}-{number}.pem", certificate.pem.encode())

    def end(self, manifest: bytes, signed: bytes) -> None:
        self._writer.add(parts.MANIFEST, manifest)
        self._writer.add(parts.SIGNED, signed)
        self._writer.end()

    def _covered(self, found: FoundRecord) -> str | None:
        """Return the name of the file with what the record's source signed about it; None where none is held."""
        statement = sql.statement_about(self._session, found.source, found.seq)
        if statement is None or statement.last - statement.first >= MAX_BATCH:
            return None
        name = f"signed/{found.source}-{statement.first}-{statement.last}.json"
        _, first, _ = self._statements.get(name, (found.source, found.seq, statement))
        self._statements[name] = found.source, min(first, found.seq), statement
        self._times.setdefault(found.source, set()).add(found.record.time)
        return name


def _pieces(file: BytesIO) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while piece := file.read(_PIECE_BYTES):
            yield piece
