"""What people need of a centre, with nothing faked but the clock and the time that a password takes."""

from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyotp
from argon2 import PasswordHasher
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal, Sealing
from control_plane.db.models import AuditRow
from control_plane.keys import store
from control_plane.keys.root import RootKey
from control_plane.keys.store import KeyStore
from control_plane.people.accounts import Accounts, NewSession, SignedIn
from control_plane.people.factors import Factors
from control_plane.people.passwords import Passwords
from control_plane.people.people import People
from control_plane.people.security_keys import SecurityKeys
from control_plane.people.sessions import Sessions
from control_plane.people.signing_in import Shown, SigningIn
from control_plane.people.tokens import Tokens
from control_plane.tlog.sequencer import Sequencer
from shared.audit.record import AuditRecord
from tests.control_plane.begun import database_at
from tests.fakes.clock import FakeClock

START = datetime(2026, 11, 24, 8, tzinfo=UTC)
ORIGIN = "http://localhost:8440"
PASSWORD = "four plain words here"
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Phone:
    """An app with codes, as it was set up from what it was shown."""

    def __init__(self, uri: str, clock: FakeClock) -> None:
        self.secret = parse_qs(urlsplit(uri).query)["secret"][0]
        self._clock = clock

    def code(self) -> str:
        return pyotp.TOTP(self.secret).at(self._clock.now())


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, FakeClock(START)
        self.open()
        self.keys.create_p256(store.JOURNAL)
        self.restart()

    def open(self) -> None:
        self.database: sessionmaker[Session] = database_at(self.folder / "people.sqlite")
        self.keys = KeyStore(self.database, RootKey(bytes(32)), self.clock)

    def restart(self, passwords: Passwords | None = None) -> None:
        """Have a new process on the same database."""
        self.open()
        self.journal = CentreJournal(
            self.database,
            self.keys.signer(store.JOURNAL),
            Sequencer(self.keys.log_signer()),
            lambda *_: Sealing(None),
            self.clock,
        )
        common = (self.database, self.journal)
        proofs = (*common, self.keys, passwords or Passwords(QUICK), SecurityKeys(lambda: ORIGIN), self.clock)
        self.accounts = Accounts(self.database, self.clock)
        self.people, self.tokens = People(*common, self.clock), Tokens(*common, self.clock)
        self.sessions = Sessions(*common, self.clock)
        self.factors, self.signing_in = Factors(*proofs), SigningIn(*proofs)

    def person(self, name: str, role: str = "administrator") -> SignedIn:
        return self.accounts.by_token(self.people.add(name, role, by="the installer"))

    def with_phone(self, name: str, role: str = "administrator") -> tuple[SignedIn, Phone, tuple[str, ...]]:
        """Return somebody with a password and an app with codes, and their recovery codes."""
        person = self.person(name, role)
        self.factors.set_password(person, "", PASSWORD, HERE)
        offer = self.factors.offer_totp(person, PASSWORD, "phone", HERE)
        phone = Phone(offer.uri, self.clock)
        added = self.factors.confirm_totp(person, offer.factor_id, phone.code(), HERE)
        return person, phone, added.recovery_codes

    def sign_in(self, name: str, code: str, *, password: str = PASSWORD, address: str = HERE) -> NewSession:
        step = self.signing_in.begin(name, password, address)
        return self.signing_in.finish(step.secret, Shown(code=code), address)

    def records(self) -> list[AuditRecord]:
        with self.database() as session:
            return [AuditRecord.parse(one) for one in session.scalars(select(AuditRow.public).order_by(AuditRow.seq))]

    def stored(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.folder.iterdir() if path.is_file())
