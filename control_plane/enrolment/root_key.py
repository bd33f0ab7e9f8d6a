"""The key of the authority's root: in a file that leaves the machine, or on a PKCS#11 token that it never leaves.

The root certifies a handful of certificates in its life. So the key is opened for one command at a time, by a person,
and best on a machine without a network.
"""

from collections.abc import Callable
from getpass import getpass
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.utils import Buffer

from control_plane.durable import write_new
from control_plane.policy.person_key import PersonKey, parse_private, read_private, signer_for, token_key
from shared.errors import Refused

ROOT_KEY_FILE = "authority-root-key.pem"

AskPin = Callable[[str], str]


class KeyOfAnotherRoot(Refused):
    def __init__(self) -> None:
        super().__init__("this key is not that of the root which the request names; take the newest root's key")


class RootKeyPlace(Protocol):
    """Where the key of a new root is to lie."""

    def make(self) -> ec.EllipticCurvePrivateKey:
        """Return the key, once it lies there durably."""
        ...


class NewKeyFile:
    """A key that is made here, in a file for its owner only."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def make(self) -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_new(self._path, pem)
        return key


class KeyOnToken:
    """A key that a person made on a token already."""

    def __init__(self, token: str, key_id: int, ask_pin: AskPin = getpass) -> None:
        self._token, self._key_id, self._ask_pin = token, key_id, ask_pin

    def make(self) -> ec.EllipticCurvePrivateKey:
        """Raises TokenUnavailable, PinRefused."""
        pins: list[str] = []

        def ask_once(prompt: str) -> str:
            pins.append(pins[0] if pins else self._ask_pin(prompt))
            return pins[0]

        return TokenKey(token_key("authority root", token=self._token, key_id=self._key_id, ask_pin=ask_once), ask_once)


def load_key_file(path: Path) -> ec.EllipticCurvePrivateKey:
    """Raises KeyFileRefused, Malformed."""
    return parse_private(read_private(path), f"key file {path}")


class TokenKey(ec.EllipticCurvePrivateKey):
    """A private key that signs on a token and shows nothing of itself. Certificates are built with it as with any."""

    def __init__(self, written: PersonKey, ask_pin: AskPin) -> None:
        self._written = written
        self._signer = signer_for(written, Path(), ask_pin)

    def sign(self, data: Buffer, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Raises TokenUnavailable, PinRefused."""
        algorithm = signature_algorithm.algorithm
        if isinstance(algorithm, Prehashed) or not isinstance(algorithm, hashes.SHA256):
            raise NotImplementedError  # the token hashes by itself, with SHA-256
        return bytes.fromhex(self._signer.sign(bytes(data)).signature)

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._written.public

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._written.public.curve

    @property
    def key_size(self) -> int:
        return self.curve.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        raise NotImplementedError

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        raise NotImplementedError

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,  # noqa: A002 (the library's name for it)
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> bytes:
        raise NotImplementedError

    def __copy__(self) -> "TokenKey":
        return self

    def __deepcopy__(self, memo: dict[object, object]) -> "TokenKey":
        return self
