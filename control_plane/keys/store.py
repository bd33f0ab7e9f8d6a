"""The key store: every key of the centre by name, private parts opened only here and only in memory."""

import secrets
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import KeyRow
from control_plane.db.transactions import in_one_commit
from control_plane.keys.root import KeyNotAuthentic, RootKey
from control_plane.tlog.sequencer import Sequencer
from shared.audit.tlog.keys import KeyType, NoteSigner
from shared.clock import Clock
from shared.errors import Refused
from shared.identity import KeyId, RandomBytes
from shared.policy.document import KeyPurpose, SealingKey
from shared.sealing.hpke import SEED_BYTES, SealingPrivateKey, SealingPublicKey
from shared.signing import SoftwareSigner

CA = "ca/1"
_CA_ALL = "ca/"
_ROOT_ALL = "authority/root-sha256/"
SERVER_TLS = "tls/server/1"
BROKER_TLS = "tls/broker/1"
SERVICE_TLS = "tls/service/1"
RECEIPTS = "evidence/receipts/1"
JOURNAL = "evidence/journal/1"
DOCUMENTS = "documents/1"
LOG = "log/checkpoints/1"
_LOG_NAME = "leadglass/log/"
WITNESS = "log/witness/1"
_WITNESS_NAME = "leadglass/site/"
POLICY_ONLINE = "policy/online/1"
_POLICY_ONLINE_ALL = "policy/online/"
POLICY_TRUST = "policy/first-root-sha256/1"
BLIND_INDEX = "secret/blind-index/1"
SOP_HASH = "secret/sop-hash/1"
_SEALING = tuple(f"{purpose.value}/" for purpose in KeyPurpose)


class KeyUnknown(Refused):
    def __init__(self, name: str) -> None:
        super().__init__(f"the key store holds no key {name}")
        self.name = name


@dataclass(frozen=True)
class _Opened:
    public: bytes
    secret: bytes


class KeyStore:
    """Keys are made once and never overwritten. Private parts are cached in this process's memory while it runs."""

    def __init__(
        self,
        database: sessionmaker[Session],
        root: RootKey,
        clock: Clock,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self._database, self._root, self._clock, self._random = database, root, clock, random_bytes
        self._opened: dict[str, _Opened] = {}
        self._sealing_keys: dict[str, SealingKey] = {}
        self._pairs: dict[KeyId, tuple[SealingKey, SealingPrivateKey]] = {}
        self._lock = Lock()

    def create_sealing_key(self, purpose: KeyPurpose, grade: str = "", epoch: int = 1) -> SealingKey:
        seed = self._random(SEED_BYTES)
        public = SealingPrivateKey(seed).public
        self._insert(_sealing_name(purpose, grade, epoch), str(public.key_id), public.raw, seed)
        return SealingKey(purpose, grade, epoch, public)

    def create_p256(self, name: str) -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        signer = SoftwareSigner(key)
        self._insert(name, str(signer.public.key_id), signer.public.spki, _pkcs8(key))
        return key

    def create_secret(self, name: str) -> None:
        self._insert(name, name, b"", self._random(32))

    def p256(self, name: str) -> ec.EllipticCurvePrivateKey:
        """Raises KeyUnknown, KeyNotAuthentic."""
        key = serialization.load_der_private_key(self._open(name).secret, password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 (create_p256 is the only writer)
        return key

    def p256_or_new(self, name: str) -> ec.EllipticCurvePrivateKey:
        """Return the key of that name, made where there has never been one: a centre of before has none.

        Raises KeyNotAuthentic.
        """
        try:
            return self.p256(name)
        except KeyUnknown:
            in_one_commit(self._database, lambda session: self._begin_p256(session, name))
            return self.p256(name)

    def _begin_p256(self, session: Session, name: str) -> None:
        if session.get(KeyRow, name) is not None:
            return  # another worker was first
        made = ec.generate_private_key(ec.SECP256R1())
        public = SoftwareSigner(made).public
        session.add(self._row(name, str(public.key_id), public.spki, _pkcs8(made)))

    def online_keys(self) -> tuple[str, ...]:
        """Return the names of all keys that say which policy is the newest, oldest first."""
        return self._numbered(_POLICY_ONLINE_ALL)

    def create_online_key(self) -> str:
        """Return the name of one more key that says which policy is the newest; nothing names it yet."""
        name = f"{_POLICY_ONLINE_ALL}{_epoch(self.online_keys()[-1]) + 1}"
        self.create_p256(name)
        return name

    def issuing_keys(self) -> tuple[str, ...]:
        """Return the names of all keys of issuing CAs, oldest first; the root may not have certified the newest yet."""
        return self._numbered(_CA_ALL)

    def create_issuing_key(self) -> ec.EllipticCurvePrivateKey:
        return self.create_p256(f"{_CA_ALL}{_epoch(self.issuing_keys()[-1]) + 1}")

    def roots(self) -> tuple[bytes, ...]:
        """Return the SHA-256 of each of the authority's roots, oldest first. Raises KeyNotAuthentic."""
        return tuple(self.secret(name) for name in self._numbered(_ROOT_ALL))

    def keep_root(self, session: Session, root_sha256: bytes) -> None:
        """Believe one more root, the newest from now on, with the caller's commit."""
        self.keep(session, f"{_ROOT_ALL}{len(self._numbered(_ROOT_ALL)) + 1}", root_sha256)

    def signer(self, name: str) -> SoftwareSigner:
        """Raises KeyUnknown, KeyNotAuthentic."""
        return SoftwareSigner(self.p256(name))

    def log_signer(self) -> NoteSigner:
        """Return the key that signs checkpoints of the Merkle log, made where there has never been one.

        What was entered before is signed in the commit that makes it, and nothing unsigned is ever signed later.
        Raises KeyNotAuthentic.
        """
        try:
            secret = self._open(LOG).secret
        except KeyUnknown:
            in_one_commit(self._database, self._begin_log)
            secret = self._open(LOG).secret
        return _log_signer(Ed25519PrivateKey.from_private_bytes(secret))

    def witness_signer(self) -> NoteSigner:
        """Return the key that cosigns checkpoints of others' logs, made where there has never been one.

        Raises KeyNotAuthentic.
        """
        try:
            secret = self._open(WITNESS).secret
        except KeyUnknown:
            in_one_commit(self._database, self._make_witness)
            secret = self._open(WITNESS).secret
        key = Ed25519PrivateKey.from_private_bytes(secret)
        digest = sha256(key.public_key().public_bytes_raw()).hexdigest()[:16]
        return NoteSigner(_WITNESS_NAME + digest, key, KeyType.COSIGNATURE)

    def _make_witness(self, session: Session) -> None:
        if session.get(KeyRow, WITNESS) is None:
            made = Ed25519PrivateKey.generate()
            session.add(self._row(WITNESS, WITNESS, made.public_key().public_bytes_raw(), made.private_bytes_raw()))

    def _begin_log(self, session: Session) -> None:
        if session.get(KeyRow, LOG) is not None:
            return  # another worker was first
        made = Ed25519PrivateKey.generate()
        session.add(self._row(LOG, LOG, made.public_key().public_bytes_raw(), made.private_bytes_raw()))
        Sequencer(_log_signer(made)).sign_first(session)

    def secret(self, name: str) -> bytes:
        """Raises KeyUnknown, KeyNotAuthentic."""
        return self._open(name).secret

    def sealing_pair(self, key_id: KeyId) -> tuple[SealingKey, SealingPrivateKey] | None:
        """Return both halves of the sealing key that a box names, None where that is none of ours.

        A pair is looked for once: making one from its seed takes longer than opening a box. Raises KeyNotAuthentic.
        """
        if key_id not in self._pairs:
            with self._database() as session:
                row = session.scalars(select(KeyRow).where(KeyRow.key_id == str(key_id))).first()
            if row is None or not row.name.startswith(_SEALING):
                return None
            self._pairs[key_id] = self._proved(row), SealingPrivateKey(self._open(row.name).secret)
        return self._pairs[key_id]

    def sealing_keys(self) -> tuple[SealingKey, ...]:
        """Return the public halves of all sealing keys, as policies name them.

        Raises KeyNotAuthentic: a row's public half is not that of its private one; things would be sealed to another.
        """
        with self._database() as session:
            rows = session.scalars(select(KeyRow).order_by(KeyRow.name)).all()
        return tuple(self._proved(row) for row in rows if row.name.startswith(_SEALING))

    def _proved(self, row: KeyRow) -> SealingKey:
        proved = self._sealing_keys.get(row.name)
        if proved is None:
            public = SealingPrivateKey(self._open(row.name).secret).public
            proved = self._sealing_keys[row.name] = _sealing_key(row.name, public)
        if (row.public, row.key_id) != (proved.key.raw, str(proved.key.key_id)):
            raise KeyNotAuthentic(row.name)
        return proved

    def _numbered(self, prefix: str) -> tuple[str, ...]:
        with self._database() as session:
            names = session.scalars(select(KeyRow.name).where(KeyRow.name.startswith(prefix))).all()
        return tuple(sorted(names, key=_epoch))

    def keep(self, session: Session, name: str, secret: bytes) -> None:
        """Seal a secret made elsewhere under `name`, with the caller's commit."""
        session.add(self._row(name, name, b"", secret))

    def seal(self, name: str, secret: bytes) -> bytes:
        """Return a secret sealed under the root key, for a row of another table; it opens under this name alone."""
        return self._root.seal(name, secret, self._random)

    def unseal(self, name: str, sealed: bytes) -> bytes:
        """Raises Malformed, KeyNotAuthentic."""
        return self._root.open(name, sealed)

    def _insert(self, name: str, key_id: str, public: bytes, secret: bytes) -> None:
        with self._database.begin() as session:
            session.add(self._row(name, key_id, public, secret))

    def _row(self, name: str, key_id: str, public: bytes, secret: bytes) -> KeyRow:
        sealed = self._root.seal(name, secret, self._random)
        return KeyRow(name=name, key_id=key_id, public=public, sealed=sealed, created=self._clock.now())

    def _open(self, name: str) -> _Opened:
        with self._lock:
            if name not in self._opened:
                with self._database() as session:
                    row = session.get(KeyRow, name)
                if row is None:
                    raise KeyUnknown(name)
                self._opened[name] = _Opened(row.public, self._root.open(name, row.sealed))
            return self._opened[name]


def _log_signer(key: Ed25519PrivateKey) -> NoteSigner:
    """Its name, which is the log's too, has its digest in it, so no two centres have the same."""
    return NoteSigner(_LOG_NAME + sha256(key.public_key().public_bytes_raw()).hexdigest()[:16], key)


def _epoch(name: str) -> int:
    return int(name.rsplit("/", 1)[1])


def _sealing_name(purpose: KeyPurpose, grade: str, epoch: int) -> str:
    return f"{purpose.value}/{grade or '-'}/{epoch}"


def _sealing_key(name: str, public: SealingPublicKey) -> SealingKey:
    purpose, grade, epoch = name.split("/")
    return SealingKey(KeyPurpose(purpose), "" if grade == "-" else grade, int(epoch), public)


def _pkcs8(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
