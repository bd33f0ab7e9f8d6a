"""Makes a backup while the centre runs: rows as of one moment, then the bodies that those rows name.

A body is in the vault before its row is, and none is ever taken away, so the bodies may be copied after the rows.
"""

import secrets
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log import rows
from control_plane.audit_log.journal import CentreJournal
from control_plane.backup import bodies, lines, register
from control_plane.backup.bodies import Body
from control_plane.backup.folder import (
    BackupDamaged,
    BackupFolder,
    copy,
    digest_of,
    load_manifest,
    part_writer,
    store_manifest,
    verify_part,
)
from control_plane.backup.manifest import BODIES, DATABASE, TEST_OBJECT, Manifest, Part
from control_plane.db.models import KeyRow, Object
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.durable import sync_folder
from control_plane.erasure.private_parts import PrivateParts
from control_plane.erasure.resealing import Resealing
from control_plane.keys.root import RootKey
from control_plane.vault.local import LocalBodies
from control_plane.vault.losses import Losses, is_whole
from control_plane.vault.object_store import Bodies, BodyMissing, BodyUnreadable
from control_plane.vault.rechecking import LossRecheck
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.errors import Malformed
from shared.identity import CONTROL_PLANE, ObjectId, RandomBytes
from shared.sealing.record import CaptureRecord
from shared.signing import EvidenceSigner, Label, claimed_payload, sign_statement

_WANTED = "wanted"  # the bodies to copy, for as long as that takes
_NEW = ".part"
_UNKNOWN = bytes(32)
_AT_ONCE = 500
_MOST_LOST = 1000


@dataclass(frozen=True)
class Made:
    """A finished backup. `copied` of its bodies are new in the folder; `damaged` names those that are in none.

    `regained` is how many images the vault had lost that it gives whole again.
    """

    folder: Path
    manifest: Manifest
    copied: int
    copied_bytes: int
    damaged: tuple[ObjectId, ...]
    regained: int


@dataclass(frozen=True)
class Centre:
    """What a backup is made of, and what vouches for it."""

    database: sessionmaker[Session]
    bodies: Bodies
    test_object: Path
    root: RootKey
    signer: EvidenceSigner
    journal: CentreJournal
    private: PrivateParts
    clock: Clock
    losses: Losses


class BackupMaker:
    def __init__(self, centre: Centre, random_bytes: RandomBytes = secrets.token_bytes) -> None:
        self._centre, self._random = centre, random_bytes

    def make(self, folder: BackupFolder, person: str, *, keep: timedelta | None = None) -> Made:
        """Return a backup once all of it was read back, it counts, and the log says so.

        Raises FolderInUse, NoPlaceForBackups, BackupDamaged: what was read back is not what was written. Raises
        RootKeyInside, NoPlaceInBackup, StoreUnavailable, DatabaseUnavailable. What was begun then stays incomplete.
        """
        with folder.sole_use():
            label = f"{self._centre.clock.now():%Y%m%dT%H%M%SZ}-{self._random(2).hex()}"
            unfinished = folder.begin(label)
            # What is not sealed to its subjects yet would open again after a restore, whoever was erased since.
            Resealing(self._centre.journal, self._centre.private).step()
            manifest = self._dump(unfinished, label, folder.path, keep)
            copied = _Copied(LocalBodies(folder.objects), self._centre.bodies)
            manifest = self._finish(unfinished, manifest, copied)
            self._read_back(unfinished, manifest)
            path = folder.finish(label)
            damaged = tuple(body.object_id for body in copied.damaged)
            in_one_commit(self._centre.database, lambda session: self._note(session, manifest, person))
            # Last: the backup is whole whatever becomes of that.
            regained = LossRecheck(self._centre.losses, self._centre.bodies).round()
            self._note_losses(copied.damaged)
        return Made(path, manifest, copied.count, copied.size_bytes, damaged, regained)

    def _dump(self, folder: Path, label: str, place: Path, keep: timedelta | None) -> Manifest:
        with snapshot(self._centre.database) as session:
            manifest = _facts(session, label, self._centre.clock)
            until = None if keep is None else manifest.begun + keep
            # Known before the first byte is written: what is cut off may hold keys too.
            in_one_commit(
                self._centre.database, lambda own: register.begin(own, manifest, str(place.absolute()), until)
            )
            with part_writer(folder / DATABASE, self._centre.root.raw) as writer:
                with closing(lines.dump(session, manifest.schema, self._centre.root.raw)) as dumped:
                    for line in dumped:
                        writer.write(line)
                manifest.parts[DATABASE] = writer.part()
            with (folder / _WANTED).open("xb") as wanted, closing(_wanted(session)) as named:
                wanted.writelines(body.line() for body in named)
        return manifest

    def _finish(self, folder: Path, manifest: Manifest, copied: "_Copied") -> Manifest:
        never = self._centre.root.raw
        with part_writer(folder / BODIES, never) as writer, (folder / _WANTED).open("rb") as wanted:
            for body in bodies.read(wanted):
                writer.write(copied.take(body).line())
            manifest.parts[BODIES] = writer.part()
        (folder / _WANTED).unlink()
        with (
            part_writer(folder / TEST_OBJECT, never) as writer,
            self._centre.test_object.open("rb", buffering=0) as file,
        ):
            copy(file, writer)
            manifest.parts[TEST_OBJECT] = writer.part()
        finished = Manifest(**{**vars(manifest), "damaged": len(copied.damaged)})
        store_manifest(folder, sign_statement(self._centre.signer, Label.BACKUP, finished.encode()))
        return finished

    def _read_back(self, folder: Path, manifest: Manifest) -> None:
        for name, part in manifest.parts.items():
            verify_part(folder / name, part)
        if Manifest.parse(claimed_payload(load_manifest(folder))) != manifest:
            raise BackupDamaged(folder, "has another manifest than was written")

    def _note_losses(self, damaged: Sequence[Body]) -> None:
        # Where so many are missing a disk is, and every one of them is here again with it.
        if len(damaged) > _MOST_LOST:
            return
        for body in damaged:
            # The backup may have taken hours since it came by.
            if not is_whole(self._centre.bodies, body.object_id, body.size_bytes, body.sha256):
                why = "a backup found its body missing, or not what its host signed"
                self._centre.losses.found(body.object_id, why)

    def _note(self, session: Session, manifest: Manifest, person: str) -> None:
        register.finish(session, manifest.label, self._centre.clock.now())
        who, what = (Participant("person", person, True),), (Subject("backup", manifest.label),)
        self._centre.journal.append(session, Happening(Event.BACKUP_MADE, Action.EXECUTE, Outcome.SUCCESS, who, what))


def _facts(session: Session, label: str, clock: Clock) -> Manifest:
    # This look fixes what the copy holds, and the time is told after it: a key of before is one that the copy may hold.
    count, size_bytes = session.execute(select(func.count(), func.sum(Object.body_bytes)).select_from(Object)).one()
    return Manifest(
        label=label,
        begun=clock.now(),
        schema=session.execute(text("SELECT version_num FROM alembic_version")).scalar_one(),
        audit_seq=rows.head(session, CONTROL_PLANE).seq,
        keys=tuple(sorted(session.scalars(select(KeyRow.name)))),
        objects=count,
        body_bytes=int(size_bytes or 0),
        damaged=0,
        parts=dict[str, Part](),
    )


def _wanted(session: Session) -> Generator[Body, None, None]:
    query = select(Object.object_id, Object.body_bytes, Object.record).order_by(Object.object_id)
    with session.execute(query.execution_options(yield_per=_AT_ONCE)) as rows:
        for name, size_bytes, record in rows:
            yield Body(ObjectId.parse(name), size_bytes, _digest(record), is_held=False)


def _digest(record: bytes) -> bytes:
    """Return what the record says of the body; of one that was altered nothing, and no body is that."""
    try:
        return CaptureRecord.parse(claimed_payload(record)).body_sha256
    except Malformed:
        return _UNKNOWN


class _Copied:
    """Copies bodies that the folder does not have, and counts them."""

    def __init__(self, here: LocalBodies, vault: Bodies) -> None:
        self._here, self._vault = here, vault
        self.count, self.size_bytes, self.damaged = 0, 0, list[Body]()

    def take(self, body: Body) -> Body:
        if not self._has(body) and not self._copy(body):
            self.damaged.append(body)
            return body
        return Body(body.object_id, body.size_bytes, body.sha256, is_held=True)

    def _has(self, body: Body) -> bool:
        path = self._here.path(body.object_id)
        return path.exists() and path.stat().st_size == body.size_bytes

    def _copy(self, body: Body) -> bool:
        """Return whether the vault's body is what the host signed; then it is here, and was read back."""
        path, expected = self._here.path(body.object_id), Part(body.size_bytes, body.sha256)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Its own name comes last, by a rename, which every file system has: what a cut leaves has another one.
        new = path.with_suffix(_NEW)
        new.unlink(missing_ok=True)
        try:
            with self._vault.open(body.object_id) as source, part_writer(new) as writer:
                copy(source, writer)
        except (BodyMissing, BodyUnreadable):
            new.unlink(missing_ok=True)
            return False
        if writer.part() != expected:
            new.unlink()
            return False
        if digest_of(new) != expected:
            raise BackupDamaged(new, "holds other bytes than were written")
        new.rename(path)
        sync_folder(path.parent)
        self.count, self.size_bytes = self.count + 1, self.size_bytes + body.size_bytes
        return True
