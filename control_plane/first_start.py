"""The first start: everything that is made once, and handed over once."""

import re
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.checkpoints.guard import LogGuard, Marks
from control_plane.checkpoints.mark import MarkFile
from control_plane.db import place
from control_plane.db.engine import close_database, open_database, open_empty
from control_plane.db.models import Fact
from control_plane.durable import sync_folder, write_new
from control_plane.enrolment import authority
from control_plane.enrolment.issuance import Issuance, Why, record_what_was_issued
from control_plane.enrolment.root_key import ROOT_KEY_FILE, NewKeyFile, RootKeyPlace
from control_plane.erasure.private_parts import PrivateParts
from control_plane.keys import drill, shares, store
from control_plane.keys.root import ROOT_KEY_BYTES, RootKey, store_root_key
from control_plane.keys.store import KeyStore
from control_plane.people.accounts import Accounts
from control_plane.people.decide import ADMINISTRATOR
from control_plane.people.name import PERSON_PATTERN, is_of_a_service
from control_plane.policy.authoring import Credential, make_root_and_targets, new_credential, store_credential
from control_plane.policy.publisher import PolicyPublisher
from control_plane.settings import Folders, SettingRefused, verify_host_name
from control_plane.tlog.sequencer import Sequencer
from shared import clock as clocks
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.errors import Refused
from shared.policy.document import KeyPurpose, SealingKey

INITIALISED = "initialised"
HOST = "host"
GRADES = ("general", "restricted", "secret")
"""Those that keys are made for, the strictest last."""


class AlreadyInitialised(Refused):
    def __init__(self, data: Path) -> None:
        super().__init__(f"{data} holds a control plane already; start it with `leadglass-server run`")
        self.data = data


class FolderTaken(Refused):
    def __init__(self, data: Path) -> None:
        super().__init__(
            f"{data} is not empty and holds no finished control plane: if a first start was interrupted here, nothing "
            "relies on what it left, so remove it, and what it handed over; else give an empty folder"
        )
        self.data = data


class HandoverTaken(Refused):
    def __init__(self, folder: Path) -> None:
        super().__init__(f"hand-over folder {folder} is not empty; give one that is, so that nothing is overwritten")
        self.folder = folder


class HandoverInside(Refused):
    def __init__(self, folder: Path) -> None:
        super().__init__(f"hand-over folder {folder} is inside the data folder; backups of that would hold the shares")
        self.folder = folder


@dataclass(frozen=True)
class HandedOver:
    """Files that leave the machine: the administrator's credential, shares for three people, and the root's key."""

    credential: Path
    shares: tuple[Path, ...]
    root_key: Path | None  # of the certificate authority; None: it lies on a token


class NotInitialised(Refused):
    def __init__(self, data: Path) -> None:
        super().__init__(
            f"{data} holds no control plane whose first start was finished; "
            "make one with `leadglass-server init` in an empty folder"
        )
        self.data = data


def is_begun(folders: Folders) -> bool:
    return folders.database.exists() or folders.noted_url.exists()


def verify_initialised(folders: Folders) -> None:
    """Raises NotInitialised: nothing there, or a first start that was cut off and made nothing anyone relies on."""
    if _fact(folders, INITIALISED) is None:
        raise NotInitialised(folders.data)


def host_of(folders: Folders) -> str:
    """Return the name or address by which hosts reach this machine. Raises NotInitialised."""
    verify_initialised(folders)
    return _fact(folders, HOST) or "127.0.0.1"


def remember_host(folders: Folders, host: str) -> None:
    """Keep the name by which hosts reach this machine, once its certificates are for it."""
    if host_of(folders) != host:
        database = open_database(place.url_of(folders))
        with database.begin() as session:
            session.merge(Fact(name=HOST, value=host))
        close_database(database)


def _fact(folders: Folders, name: str) -> str | None:
    if not is_begun(folders):
        return None
    database = open_database(place.url_of(folders))
    with database() as session:
        fact = session.get(Fact, name)
    close_database(database)
    return fact.value if fact else None


def first_start(
    folders: Folders,
    handover: Path,
    person: str,
    *,
    host: str,
    people_url: str,
    clock: Clock,
    root_on: RootKeyPlace | None = None,
) -> HandedOver:
    """Make the centre in an empty data folder; once this returns, it and what was handed over survive a power cut.

    The key of the authority's root lies where `root_on` says, else in a file beside the rest that is handed over.

    Raises AlreadyInitialised, FolderTaken, HandoverTaken, SettingRefused, DataInUse, DatabaseRefused, ServerRefused.
    """
    verify_host_name(host)
    if not re.fullmatch(PERSON_PATTERN, person):
        raise SettingRefused("person", f"{person!r} is no name: letters, digits, spaces and . @ ' - , at most 64")
    if is_of_a_service(person):
        raise SettingRefused("person", f"{person!r} is what the audit log calls the control plane itself")
    if handover.resolve() == folders.data.resolve() or folders.data.resolve() in handover.resolve().parents:
        raise HandoverInside(handover)
    folders.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with folders.sole_use():
        if any(folders.data.iterdir()):
            raise (AlreadyInitialised if _fact(folders, INITIALISED) else FolderTaken)(folders.data)
        if handover.exists() and any(handover.iterdir()):
            raise HandoverTaken(handover)
        handover.mkdir(mode=0o700, parents=True, exist_ok=True)
        handover.chmod(0o700)
        root_key = (root_on or NewKeyFile(handover / ROOT_KEY_FILE)).make()
        made = _make(folders, handover, person, root_key, host=host, people_url=people_url, clock=clock)
        return made if root_on is None else replace(made, root_key=None)


def _make(
    folders: Folders,
    handover: Path,
    person: str,
    root_key: ec.EllipticCurvePrivateKey,
    *,
    host: str,
    people_url: str,
    clock: Clock,
) -> HandedOver:
    folders.data.chmod(0o700)
    folders.make()
    root = RootKey(secrets.token_bytes(ROOT_KEY_BYTES))
    store_root_key(folders.root_key, root)
    database = open_empty(place.url_of(folders))
    place.note(folders)
    keys = KeyStore(database, root, clock)
    *data_keys, index_key, audit_key = _make_keys(keys)
    ca = authority.establish(database, keys, clock, root_key, [host])
    journal = CentreJournal(
        database, keys.signer(store.JOURNAL), Sequencer(keys.log_signer()), PrivateParts(keys).sealing, clock
    )
    marks = Marks(MarkFile(folders.log_mark), MarkFile(folders.log_head))
    guard = LogGuard(database, journal, keys.signer(store.JOURNAL).public, journal.sequencer.key, marks, clock)
    record_what_was_issued(database, journal, Why.FIRST_START)
    issuance = Issuance(ca, journal, guard.verify_may_issue, guard.look)
    authority.issue_own(database, ca, issuance.because(Why.OWN), keys, host)
    credential = _new_administrator(database, keys, person, people_url, clock)
    publisher = PolicyPublisher(database, keys, journal, clock)
    online = keys.p256(store.POLICY_ONLINE).public_key()
    publisher.establish(*make_root_and_targets([credential.signer], online, clock, names=[person]), person)
    test_object = drill.test_object_path(folders.data)
    drill.seal_test_object(test_object, data_keys[-1], index_key, keys.signer(store.JOURNAL), clock.now())
    handed_over = _hand_over(handover, credential, shares.split(root))
    for folder in (folders.database.parent, folders.data, folders.data.absolute().parent, handover.absolute().parent):
        sync_folder(folder)
    made = (Subject("key", str(key.key.key_id)) for key in (*data_keys, index_key, audit_key))
    who = (Participant("person", person, True),)
    journal.record(Happening(Event.KEYS_CREATED, Action.CREATE, Outcome.SUCCESS, who, tuple(made)))
    with database.begin() as session:
        session.add(Fact(name=HOST, value=host))
        session.add(Fact(name=INITIALISED, value=clocks.text(clock.now())))
    close_database(database)
    return handed_over


def _make_keys(keys: KeyStore) -> list[SealingKey]:
    """Return the sealing keys: of data in the order of `GRADES`, then index and audit."""
    for name in (store.SERVER_TLS, store.BROKER_TLS, store.SERVICE_TLS, store.RECEIPTS, store.JOURNAL):
        keys.create_p256(name)
    keys.create_p256(store.POLICY_ONLINE)
    keys.create_secret(store.BLIND_INDEX)
    keys.create_secret(store.SOP_HASH)
    data_keys = [keys.create_sealing_key(KeyPurpose.DATA, grade) for grade in GRADES]
    return [*data_keys, keys.create_sealing_key(KeyPurpose.INDEX), keys.create_sealing_key(KeyPurpose.AUDIT)]


def _new_administrator(
    database: sessionmaker[Session], keys: KeyStore, person: str, people_url: str, clock: Clock
) -> Credential:
    return new_credential(
        person=person,
        role=ADMINISTRATOR,
        url=people_url,
        token=Accounts(database, clock).create(person, ADMINISTRATOR),
        sealing_keys=keys.sealing_keys(),
        receipt_key=keys.signer(store.RECEIPTS).public,
    )


def _hand_over(folder: Path, credential: Credential, words: tuple[str, ...]) -> HandedOver:
    path = folder / f"credential-{credential.person}.json"
    store_credential(path, credential)
    paths = tuple(folder / f"recovery-share-{number}.txt" for number in range(1, len(words) + 1))
    for share, text in zip(paths, words, strict=True):
        write_new(share, f"{text}\n".encode())
    return HandedOver(path, paths, folder / ROOT_KEY_FILE)
