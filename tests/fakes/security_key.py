"""A security key in software: WebAuthn level 2, ES256, no attestation. It answers as the page's script sends it on."""

import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

_USER_PRESENT, _NEW_CREDENTIAL = 0x01, 0x40


class SecurityKey:
    def __init__(self, origin: str) -> None:
        self.origin, self.counter = origin, 0
        self._key, self.credential_id = ec.generate_private_key(ec.SECP256R1()), secrets.token_bytes(32)

    def register(self, options: str) -> str:
        asked = json.loads(options)
        numbers = self._key.public_key().public_numbers()
        public = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        credential = bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + cbor2.dumps(public)
        data = self._authenticator_data(asked["rp"]["id"], _USER_PRESENT | _NEW_CREDENTIAL) + credential
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client_data("webauthn.create", asked)
        return self._answer({"attestationObject": _text(attestation), "clientDataJSON": _text(client)})

    def present(self, options: str) -> str:
        asked = json.loads(options)
        self.counter += 1
        data = self._authenticator_data(asked["rpId"], _USER_PRESENT)
        client = self._client_data("webauthn.get", asked)
        signature = self._key.sign(data + sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return self._answer(
            {
                "authenticatorData": _text(data), "clientDataJSON": _text(client), "signature": _text(signature),
                "userHandle": None,
            }
        )  # fmt: skip

    def _authenticator_data(self, relying_party: str, flags: int) -> bytes:
        return sha256(relying_party.encode()).digest() + bytes([flags]) + self.counter.to_bytes(4, "big")

    def _client_data(self, kind: str, asked: dict[str, Any]) -> bytes:
        challenge = _text(urlsafe_b64decode(asked["challenge"] + "=="))
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}).encode()

    def _answer(self, response: dict[str, Any]) -> str:
        name = _text(self.credential_id)
        return json.dumps(
            {"id": name, "rawId": name, "type": "public-key", "response": response, "clientExtensionResults": {}}
        )


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
