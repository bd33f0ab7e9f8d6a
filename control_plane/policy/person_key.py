"""The key that a person signs policies with, kept outside of their credential: in a file, or on a PKCS#11 token.

    NAME.pub   canonical JSON {"kept", "name", "public", "v": 1}: what others need to make this person a signer
    kept       `file:NAME`, an ECDSA P-256 key in PEM beside it, or `hsm:ID?label=TOKEN`, as securesystemslib has it
    public     base64 of DER SubjectPublicKeyInfo

A key on a token never leaves it. Which PKCS#11 library speaks to the token is said by `PYKCS11LIB` in the environment
and in no file: a file that somebody else made must not name code to run.  docs/formats/policy.md section 10
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import getpass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer import HSMSigner, Signature, Signer, SSlibKey

from control_plane.durable import write_new
from control_plane.people.name import PERSON_PATTERN
from control_plane.policy.roles import key_of, signer_of
from shared import canonical
from shared.canonical import Json
from shared.errors import Malformed, Refused, Unavailable
from shared.fields import Fields, encode_base64

_KEPT = r"file:[^/\x00-\x1f\x7f]{1,100}|hsm:[0-9]{1,9}\?label=[A-Za-z0-9%+._-]{1,100}"
_MAX_BYTES = 64 * 1024
_FILE, _TOKEN = "file:", "hsm:"

AskPin = Callable[[str], str]


class KeyFileRefused(Refused):
    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"key file {path} {why}")
        self.path = path


class TokenUnavailable(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"the PKCS#11 token cannot be used: {why}")
        self.why = why


class PinRefused(Refused):
    def __init__(self, why: str) -> None:
        super().__init__(f"the PKCS#11 token does not take this PIN ({why}); after a few more it locks itself")
        self.why = why


@dataclass(frozen=True)
class PersonKey:
    """One person's public key, whose it is, and where its owner finds the private half."""

    name: str
    public: ec.EllipticCurvePublicKey
    kept: str

    @property
    def key(self) -> SSlibKey:
        """Return the key as root and targets list it."""
        return key_of(self.public, self.name)

    def json(self) -> dict[str, Json]:
        return {"kept": self.kept, "name": self.name, "public": encode_base64(spki_of(self.public))}

    def encode(self) -> bytes:
        return canonical.encode({"v": 1, **self.json()})

    @classmethod
    def read(cls, fields: Fields) -> "PersonKey":
        """Raises Malformed."""
        person = cls(
            name=fields.text("name", PERSON_PATTERN, max_chars=64),
            public=parse_spki(fields.base64("public", max_bytes=1024)),
            kept=fields.text("kept", _KEPT),
        )
        fields.done()
        return person

    @classmethod
    def parse(cls, data: bytes) -> "PersonKey":
        """Raises Malformed."""
        fields = Fields(canonical.parse(data, "public key file"), "public key file")
        fields.version()
        return cls.read(fields)


def spki_of(public: ec.EllipticCurvePublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def parse_spki(data: bytes) -> ec.EllipticCurvePublicKey:
    """Raises Malformed."""
    try:
        public = serialization.load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise Malformed("public key", "not a DER SubjectPublicKeyInfo") from exc
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise Malformed("public key", "not an ECDSA P-256 key")
    if spki_of(public) != data:
        raise Malformed("public key", "not in its one encoding")
    return public


def parse_private(pem: bytes, what: str) -> ec.EllipticCurvePrivateKey:
    """Raises Malformed, quoting nothing of what is secret."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise Malformed(what, "not a private key in PEM without a password") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Malformed(what, "not an ECDSA P-256 key")
    return key


def load_public(path: Path) -> PersonKey:
    """Raises KeyFileRefused, Malformed."""
    data = _read(path, private=False)
    if data.startswith(b"-----BEGIN"):
        wanted = public_file(path).name
        raise KeyFileRefused(path, f"is a key itself, which stays with its owner; {wanted} is asked for")
    return PersonKey.parse(data)


def new_key(path: Path, name: str) -> PersonKey:
    """Make a key: the private half in `path`, for its owner only, the public one in `path` + `.pub`.

    Raises KeyFileRefused: one of the two exists, or nothing can be written there.
    """
    private = ec.generate_private_key(ec.SECP256R1())
    person = PersonKey(name, private.public_key(), f"{_FILE}{path.name}")
    PersonKey.parse(person.encode())  # also that name and place can be written down
    if public_file(path).exists():
        raise KeyFileRefused(public_file(path), "exists already; it is never overwritten")
    _write_new(path, signer_of(private).private_bytes)
    _write_new(public_file(path), person.encode())
    return person


def key_on_token(path: Path, name: str, *, token: str, key_id: int, ask_pin: AskPin = getpass) -> PersonKey:
    """Write down in `path` + `.pub` a key that lies on a token already.

    Raises KeyFileRefused, TokenUnavailable, PinRefused.
    """
    person = token_key(name, token=token, key_id=key_id, ask_pin=ask_pin)
    _write_new(public_file(path), PersonKey.parse(person.encode()).encode())
    return person


def token_key(name: str, *, token: str, key_id: int, ask_pin: AskPin = getpass) -> PersonKey:
    """Return a key that lies on a token, and where. Raises TokenUnavailable, PinRefused."""
    with _of_token():
        kept, key = HSMSigner.import_(key_id, token, lambda _: ask_pin(_prompt(token)))
    pem = str(key.keyval["public"]).encode()
    public = serialization.load_pem_public_key(pem)
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise TokenUnavailable(f"key {key_id} is not an ECDSA P-256 key")
    return PersonKey(name, public, kept)


def public_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.pub")


def signer_for(person: PersonKey, folder: Path, ask_pin: AskPin = getpass) -> Signer:
    """Return who signs with the key; only signing itself opens a file in `folder`, or asks for a PIN."""
    if person.kept.startswith(_FILE):
        return FileSigner(person, folder / person.kept.removeprefix(_FILE))
    return TokenSigner(person, ask_pin)


class FileSigner(Signer):
    def __init__(self, person: PersonKey, path: Path) -> None:
        self._person, self._path = person, path

    @property
    def public_key(self) -> SSlibKey:
        return self._person.key

    def sign(self, payload: bytes) -> Signature:
        """Raises KeyFileRefused, Malformed."""
        private = parse_private(_read(self._path, private=True), f"key file {self._path}")
        if spki_of(private.public_key()) != spki_of(self._person.public):
            raise KeyFileRefused(self._path, "holds another key than the one that is written down")
        return signer_of(private).sign(payload)

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: object, secrets_handler: object = None) -> "FileSigner":
        raise NotImplementedError  # securesystemslib asks for it; its registry of signers is not used here


class TokenSigner(Signer):
    """Asks for the PIN when it first signs, and keeps it for as long as this process signs."""

    def __init__(self, person: PersonKey, ask_pin: AskPin) -> None:
        self._person, self._ask_pin, self._pin = person, ask_pin, ""

    @property
    def public_key(self) -> SSlibKey:
        return self._person.key

    def sign(self, payload: bytes) -> Signature:
        """Raises TokenUnavailable, PinRefused."""
        with _of_token():
            token = HSMSigner.from_priv_key_uri(self._person.kept, self.public_key, self._pin_of)
            return token.sign(payload)

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: object, secrets_handler: object = None) -> "TokenSigner":
        raise NotImplementedError  # securesystemslib asks for it; its registry of signers is not used here

    def _pin_of(self, _: str) -> str:
        self._pin = self._pin or self._ask_pin(_prompt(self._person.kept.partition("label=")[2]))
        return self._pin


def _prompt(token: str) -> str:
    return f"PIN of token {token}: "


@contextmanager
def _of_token() -> Iterator[None]:
    # Only here, for it is needed by those alone whose key is on a token.
    from pkcs11.exceptions import PinIncorrect, PinInvalid, PinLenRange, PinLocked, PKCS11Error

    try:
        yield
    except (PinIncorrect, PinInvalid, PinLenRange, PinLocked) as exc:
        raise PinRefused(type(exc).__name__) from exc
    except PKCS11Error as exc:
        raise TokenUnavailable(str(exc) or type(exc).__name__) from exc
    except ValueError as exc:
        # How securesystemslib says that there is no library, token or key.
        raise TokenUnavailable(str(exc)) from exc


def read_private(path: Path) -> bytes:
    """Return a file that only its owner may read. Raises KeyFileRefused."""
    return _read(path, private=True)


def _read(path: Path, *, private: bool) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            data = file.read(_MAX_BYTES + 1)
    except OSError as exc:
        raise KeyFileRefused(path, f"cannot be read: {exc.strerror or 'unknown error'}") from exc
    if private and mode & 0o077:
        raise KeyFileRefused(path, f"is readable by others (mode {mode:04o}); run: chmod 600 {path}")
    if len(data) > _MAX_BYTES:
        raise KeyFileRefused(path, f"is larger than {_MAX_BYTES} bytes")
    return data


def _write_new(path: Path, data: bytes) -> None:
    try:
        write_new(path, data)
    except FileExistsError as exc:
        raise KeyFileRefused(path, "exists already; it is never overwritten") from exc
