"""The first start: everything that is made once, and handed over once."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.db.engine import open_database, sqlite_url
from control_plane.db.models import Fact
from control_plane.enrolment import authority
from control_plane.keys import drill, shares, store
from control_plane.keys.root import ROOT_KEY_BYTES, RootKey, store_root_key
from control_plane.keys.store import KeyStore
from control_plane.people.accounts import Accounts
from control_plane.policy.authoring import Credential, make_root_and_targets, new_credential, store_credential
from control_plane.policy.publisher import PolicyPublisher
from control_plane.settings import Folders
from shared import clock as clocks
from shared.audit.record import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.errors import Refused
from shared.policy.document import KeyPurpose, SealingKey

INITIALISED = "initialised"
STRICTEST_GRADE = "restricted"
ADMINISTRATOR = "administrator"


class AlreadyInitialised(Refused):
    def __init__(self, data: Path) -> None:
        super().__init__(
            f"{data} is not empty: a control plane, or the rest of an interrupted first start"
        )
        self.data = data


class HandoverTaken(Refused):
    def __init__(self, folder: Path) -> None:
        super().__init__(f"hand-over folder {folder} is not empty; give one that is, so that nothing is overwritten")
        self.folder = folder


@dataclass(frozen=True)
class HandedOver:
    """Files that leave the machine: the administrator's credential, and three shares for three people."""

    credential: Path
    shares: tuple[Path, ...]


class NotInitialised(Refused):
    def __init__(self, data: Path) -> None:
        super().__init__(
            f"{data} holds no control plane whose first start was finished; "
            "run `leadglass-server init` with an empty folder"
        )
        self.data = data


def is_begun(folders: Folders) -> bool:
    return folders.database.exists()


def verify_initialised(folders: Folders) -> None:
    """Raises NotInitialised: nothing there, or a first start that was cut off and made nothing anyone relies on."""
    if is_begun(folders):
        with open_database(sqlite_url(folders.database))() as session:
            if session.get(Fact, INITIALISED) is not None:
                return
    raise NotInitialised(folders.data)


def first_start(
    folders: Folders, handover: Path, person: str, *, host: str, people_url: str, clock: Clock
) -> HandedOver:
    """Make the centre in an empty data folder. Raises AlreadyInitialised, HandoverTaken."""
    if folders.data.exists() and any(folders.data.iterdir()):
        raise AlreadyInitialised(folders.data)
    if handover.exists() and any(handover.iterdir()):
        raise HandoverTaken(handover)
    folders.make()
    handover.mkdir(mode=0o700, parents=True, exist_ok=True)
    root = RootKey(secrets.token_bytes(ROOT_KEY_BYTES))
    store_root_key(folders.root_key, root)
    database = open_database(sqlite_url(folders.database))
    keys = KeyStore(database, root, clock)
    data_key, index_key, audit_key = _make_keys(keys)
    ca = authority.establish(database, keys, clock)
    authority.issue_own(database, ca, keys, host)
    journal = CentreJournal(database, keys.signer(store.JOURNAL), lambda: audit_key.key, clock)
    credential = _new_administrator(database, keys, person, people_url, clock)
    publisher = PolicyPublisher(database, keys, journal, clock)
    online = keys.p256(store.POLICY_ONLINE).public_key()
    publisher.establish(*make_root_and_targets([credential.signer], online, clock), person)
    test_object = drill.test_object_path(folders.data)
    drill.seal_test_object(test_object, data_key, index_key, keys.signer(store.JOURNAL), clock.now())
    handed_over = _hand_over(handover, credential, shares.split(root))
    made = (Subject("key", str(key.key.key_id)) for key in (data_key, index_key, audit_key))
    who = (Participant("person", person, True),)
    journal.record(Happening(Event.KEYS_CREATED, Action.CREATE, Outcome.SUCCESS, who, tuple(made)))
    with database.begin() as session:
        session.add(Fact(name=INITIALISED, value=clocks.text(clock.now())))
    return handed_over


def _make_keys(keys: KeyStore) -> tuple[SealingKey, SealingKey, SealingKey]:
    for name in (store.SERVER_TLS, store.BROKER_TLS, store.SERVICE_TLS, store.RECEIPTS, store.JOURNAL):
        keys.create_p256(name)
    keys.create_p256(store.POLICY_ONLINE)
    keys.create_secret(store.BLIND_INDEX)
    keys.create_secret(store.SOP_HASH)
    return (
        keys.create_sealing_key(KeyPurpose.DATA, STRICTEST_GRADE),
        keys.create_sealing_key(KeyPurpose.INDEX),
        keys.create_sealing_key(KeyPurpose.AUDIT),
    )


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
        with os.fdopen(os.open(share, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
    return HandedOver(path, paths)
