"""A small real centre for policy tests: database, keys, publisher, and one administrator with a credential."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer import Signer
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.engine import open_database
from control_plane.keys.root import RootKey
from control_plane.keys.store import POLICY_ONLINE, RECEIPTS, KeyStore
from control_plane.policy.authoring import Credential, author, make_root_and_targets, new_credential
from control_plane.policy.exchange import PolicyParts, Publication
from control_plane.policy.file.authored import Authored, AuthoredPolicy
from control_plane.policy.publisher import PolicyPublisher
from control_plane.policy.roles import build_layer, sign_role, signer_of
from shared.audit.events import Event, Happening
from shared.clock import SystemClock
from shared.policy.document import ORGANISATION, KeyPurpose, Modality, PolicyDocument
from shared.policy.grading import Grading
from tests.control_plane.begun import close_whole, database_at, folder_of_process

PERSON = "Ada"
ROOT = RootKey(bytes(32))
POLICY = AuthoredPolicy(ORGANISATION, (Modality("CT1", "CT, room 1.14"),), Grading("restricted"), 5, 30)


class SetClock:
    """Stands still. Begins at the machine's own time, because python-tuf's client asks the machine."""

    def __init__(self, instant: datetime | None = None) -> None:
        self.instant = instant or SystemClock().now()

    def now(self) -> datetime:
        return self.instant

    def pass_time(self, by: timedelta) -> None:
        self.instant += by


class MemoryJournal:
    def __init__(self) -> None:
        self.kept: list[Happening] = []

    def record(self, happening: Happening) -> None:
        self.kept.append(happening)

    def events(self) -> list[Event]:
        return [happening.event for happening in self.kept]


@dataclass
class Centre:
    database: sessionmaker[Session]
    keys: KeyStore
    clock: SetClock
    credential: Credential
    publisher: PolicyPublisher
    journal: MemoryJournal = field(default_factory=MemoryJournal)

    def sign(self, authored: Authored = POLICY, parts: PolicyParts | None = None) -> Publication:
        return author(authored, parts or self.publisher.parts(), self.credential, self.clock)

    def publish(self, authored: Authored = POLICY) -> int:
        return self.publisher.publish(self.sign(authored), PERSON)

    def restarted(self) -> "Centre":
        """Return the same centre in another process, so to say: nothing in memory is kept."""
        return replace(self, publisher=PolicyPublisher(self.database, self.keys, self.journal, self.clock))

    @property
    def published_version(self) -> int:
        """Return the version that is published, 0 before the first."""
        return self.publisher.parts().next_version - 1

    def document(self) -> PolicyDocument:
        return PolicyDocument.parse(self.sign().policy)

    def signed(
        self, document: PolicyDocument, signers: Sequence[ec.EllipticCurvePrivateKey] = (), version: int | None = None
    ) -> Publication:
        """Return `document` published without the checks of `author`, as a careless or hostile tool would."""
        policy = document.encode()
        layer = build_layer(
            ORGANISATION, policy, version=document.version if version is None else version, now=self.clock.now()
        )
        signing: list[Signer] = [signer_of(key) for key in signers] or [self.credential.signer]
        return Publication(ORGANISATION, sign_role(layer, signing), policy)


def new_keys(database: sessionmaker[Session], clock: SetClock) -> KeyStore:
    keys = KeyStore(database, ROOT, clock)
    for name in (POLICY_ONLINE, RECEIPTS):
        keys.create_p256(name)
    keys.create_sealing_key(KeyPurpose.DATA, "restricted")
    keys.create_sealing_key(KeyPurpose.INDEX)
    keys.create_sealing_key(KeyPurpose.AUDIT)
    return keys


def credential_for(keys: KeyStore) -> Credential:
    return new_credential(
        person=PERSON,
        role="administrator",
        url="http://127.0.0.1:8080",
        token="t0ken",
        sealing_keys=keys.sealing_keys(),
        receipt_key=keys.signer(RECEIPTS).public,
    )


def new_centre(folder: Path, url: str = "") -> Centre:
    """Return a centre that is established and has published nothing; `url` is that of a database elsewhere.

    It has nothing in common with another one.
    """
    database = open_database(url) if url else database_at(folder / "centre.sqlite")
    clock = SetClock()
    keys, journal = new_keys(database, clock), MemoryJournal()
    credential = credential_for(keys)
    publisher = PolicyPublisher(database, keys, journal, clock)
    online = keys.p256(POLICY_ONLINE).public_key()
    root, targets = make_root_and_targets([credential.signer], online, clock)
    publisher.establish(root, targets, PERSON)
    return Centre(database, keys, clock, credential, publisher, journal)


def copied_centre(folder: Path) -> Centre:
    """Return the same as `new_centre`, but with the keys and the credential of every other copy in this process."""
    made, file = _made_once()
    shutil.copyfile(file, folder / file.name)
    database, clock = database_at(folder / file.name), SetClock(made.clock.instant)
    keys, journal = KeyStore(database, ROOT, clock), MemoryJournal()
    publisher = PolicyPublisher(database, keys, journal, clock)
    return Centre(database, keys, clock, made.credential, publisher, journal)


@cache
def _made_once() -> tuple[Centre, Path]:
    folder = folder_of_process()
    made = new_centre(folder)
    close_whole(made.database)
    return made, folder / "centre.sqlite"
