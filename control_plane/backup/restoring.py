"""Makes a centre again from a backup and the root key, in an empty folder, with whatever database engine.

Everything is proved before anything is written, but for the audit log, which is proved as it stands in the new
database. The fact that a centre is initialised is written last, so one that was restored by half does not start.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import column, insert, table, update
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.audit_log.journal import CentreJournal
from control_plane.audit_log.reading import AuditReading, ChainState
from control_plane.backup import bodies, register
from control_plane.backup.bodies import Body
from control_plane.backup.folder import BackupDamaged, BackupFolder, open_part, verify_part
from control_plane.backup.lines import TYPES, Header, Lines
from control_plane.backup.manifest import BODIES, DATABASE, TEST_OBJECT, Manifest, Part
from control_plane.backup.restored import RESTORED, UNSETTLED, Restored, end_what_opens_again
from control_plane.backup.verifying import Proved, prove
from control_plane.checkpoints.guard import STOPPED
from control_plane.db import place
from control_plane.db.engine import close_database, empty_again, engine_of, open_database, open_empty
from control_plane.db.models import ApiToken, Fact
from control_plane.db.transactions import in_one_commit
from control_plane.durable import sync_folder, write_new
from control_plane.enrolment import authority
from control_plane.erasure.private_parts import PrivateParts
from control_plane.first_start import INITIALISED
from control_plane.keys import drill, store
from control_plane.keys.root import RootKey, store_root_key
from control_plane.keys.store import KeyStore
from control_plane.people.accounts import CREDENTIAL
from control_plane.policy.publisher import PolicyPublisher
from control_plane.settings import Folders
from control_plane.tlog.sequencer import Sequencer
from control_plane.vault.local import LocalBodies, LocalObjectStore
from control_plane.vault.losses import Losses
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.identity import CONTROL_PLANE, ObjectId

_ROWS_AT_ONCE = 200
_MOST_NAMED = 10


class RestoreRefused(IntegrityFailure):
    """Something of the backup is damaged, and nobody said to go on without it."""

    def __init__(self, damaged: Iterable[str]) -> None:
        self.damaged = tuple(damaged)
        more = f"; and {len(self.damaged) - _MOST_NAMED} more" if len(self.damaged) > _MOST_NAMED else ""
        super().__init__(
            f"not restored, for not all of it is whole: {'; '.join(self.damaged[:_MOST_NAMED])}{more}. Try another "
            "backup; --without-damaged restores what is whole"
        )


class FolderNotEmpty(Refused):
    def __init__(self, data: Path) -> None:
        super().__init__(
            f"{data} is not empty, and a restore writes over nothing: give an empty folder, or move away what is "
            "there, which may be newer than the backup"
        )
        self.data = data


@dataclass(frozen=True)
class Done:
    manifest: Manifest
    damaged: tuple[str, ...]
    policy_error: str  # why hosts will not follow the restored policy yet; empty where they will


def restore(
    folder: BackupFolder, backup: Path, folders: Folders, root: RootKey, clock: Clock, *, without_damaged: bool = False
) -> Done:
    """Make the centre of `backup` in an empty data folder and an empty database.

    Raises FolderNotEmpty, DataInUse, DatabaseRefused, what `prove` does, RestoreRefused.
    """
    folders.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with folders.sole_use():
        if any(folders.data.iterdir()):
            raise FolderNotEmpty(folders.data)
        proved = prove(folder, backup, root)
        if proved.damaged and not without_damaged:
            raise RestoreRefused(proved.damaged)
        with _all_or_nothing(folders, proved.manifest.schema) as database:
            lost = _write(folder, backup, folders, root, database, verify=bool(proved.damaged))
            close_database(open_database(place.url_of(folders)))  # brings it to the schema that we know
            return _Awakening(database, root, clock).wake(proved, backup, lost, without_damaged=without_damaged)


@contextmanager
def _all_or_nothing(folders: Folders, schema: str) -> Iterator[sessionmaker[Session]]:
    """Yield a new database; where the block fails, leave folder and database as empty as they were."""
    with ExitStack() as closing, ExitStack() as undoing:
        undoing.callback(_remove_all_in, folders.data)
        folders.data.chmod(0o700)
        folders.make()
        database = open_empty(place.url_of(folders), schema)
        closing.callback(close_database, database)
        undoing.callback(empty_again, database)
        yield database
        undoing.pop_all()


def _remove_all_in(folder: Path) -> None:
    for made in folder.iterdir():
        shutil.rmtree(made)


def _write(
    folder: BackupFolder,
    backup: Path,
    folders: Folders,
    root: RootKey,
    database: sessionmaker[Session],
    *,
    verify: bool,
) -> list[ObjectId]:
    """Return the objects whose bodies are not whole in the backup, and so not here."""
    store_root_key(folders.root_key, root)
    place.note(folders)
    with open_part(backup, DATABASE) as file:
        _fill(database, Lines(file))
    lost = _copy_bodies(folder, backup, folders, verify=verify)
    test_object = drill.test_object_path(folders.data)
    test_object.parent.mkdir(mode=0o700, exist_ok=True)
    write_new(test_object, (backup / TEST_OBJECT).read_bytes())
    for changed in (folders.database.parent, folders.data, folders.data.absolute().parent):
        sync_folder(changed)
    return lost


def _fill(database: sessionmaker[Session], lines: Lines) -> None:
    with engine_of(database).begin() as connection:
        for header, rows in lines.tables():
            into = insert(table(header.table, *(column(name, TYPES[kind]) for name, kind in header.columns)))
            kept = (row for row in rows if not _says_it_is_whole(header, row))
            while batch := list(islice(kept, _ROWS_AT_ONCE)):
                connection.execute(into, batch)


def _says_it_is_whole(header: Header, row: dict[str, Any]) -> bool:
    return header.table == Fact.__tablename__ and row["name"] == INITIALISED


def _copy_bodies(folder: BackupFolder, backup: Path, folders: Folders, *, verify: bool) -> list[ObjectId]:
    """Copy every body that is held and, where `verify` says that not all are whole, only those; return the others."""
    here, vault, lost = LocalBodies(folder.objects), LocalObjectStore(folders.objects), list[ObjectId]()
    with open_part(backup, BODIES) as file:
        for body in bodies.read(file):
            if body.is_held and (not verify or _is_whole(here, body)):
                with here.open(body.object_id) as source:
                    vault.put(body.object_id, source)
            else:
                lost.append(body.object_id)
    return lost


def _is_whole(here: LocalBodies, body: Body) -> bool:
    try:
        verify_part(here.path(body.object_id), Part(body.size_bytes, body.sha256))
    except BackupDamaged:
        return False
    return True


class _Awakening:
    """The restored centre, from its first look at itself until it counts as one."""

    def __init__(self, database: sessionmaker[Session], root: RootKey, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._keys = keys = KeyStore(database, root, clock)
        self._private = PrivateParts(keys)
        self._journal = CentreJournal(
            database, keys.signer(store.JOURNAL), Sequencer(keys.log_signer()), self._private.sealing, clock
        )

    def wake(self, proved: Proved, backup: Path, lost: Sequence[ObjectId], *, without_damaged: bool) -> Done:
        damaged = (*proved.damaged, *self._altered_chains())
        if damaged and not without_damaged:
            raise RestoreRefused(damaged)
        in_one_commit(self._database, lambda session: self._begin(session, proved.manifest, backup, damaged, lost))
        return Done(proved.manifest, damaged, self._leap(proved.manifest))

    def _altered_chains(self) -> list[str]:
        ca = authority.load(self._database, self._keys, self._clock)
        evidence = EvidenceKeys(self._database, ca.trust)
        verdicts = AuditReading(self._database, evidence, self._journal, self._private, self._clock).prove()
        return [
            f"audit log of {source}: record {verdict.first_bad}: {verdict.why}"
            for source, verdict in verdicts.items()
            if verdict.state is not ChainState.VERIFIED
        ]

    def _begin(
        self,
        session: Session,
        manifest: Manifest,
        backup: Path,
        damaged: tuple[str, ...],
        lost: Sequence[ObjectId],
    ) -> None:
        now = self._clock.now()
        restored = Restored(manifest.label, manifest.begun, manifest.audit_seq, now)
        # What was lost then is looked for until somebody settles all of them.
        if (earlier := session.get(Fact, RESTORED)) is not None:
            session.add(Fact(name=f"{UNSETTLED}: {manifest.label}", value=earlier.value))
        end_what_opens_again(session, now)
        # Without a credential nobody could look through the others that the backup revives.
        session.execute(update(ApiToken).where(ApiToken.name != CREDENTIAL, ApiToken.ended.is_(None)).values(ended=now))
        session.merge(Fact(name=RESTORED, value=restored.text()))
        session.merge(Fact(name=STOPPED, value=f"from backup {manifest.label}"))
        session.merge(Fact(name=INITIALISED, value=f"restored from {manifest.label}"))
        register.know(session, manifest, str(backup.absolute().parent), now)
        losses = Losses(self._database, self._journal, self._clock)
        for object_id in lost:
            losses.note(session, object_id, "its body was not whole in the backup that this centre was restored from")
        who, what = (Participant("service", CONTROL_PLANE, True),), (Subject("backup", manifest.label),)
        outcome = Outcome.MINOR_FAILURE if damaged else Outcome.SUCCESS
        reason = f"{len(damaged)} objects or chains are damaged and were left as they are" if damaged else ""
        self._journal.append(session, Happening(Event.CENTRE_RESTORED, Action.CREATE, outcome, who, what, reason))

    def _leap(self, manifest: Manifest) -> str:
        try:
            PolicyPublisher(self._database, self._keys, self._journal, self._clock).leap(manifest.begun)
        except (Refused, IntegrityFailure, Unavailable) as exc:
            return str(exc)
        return ""
