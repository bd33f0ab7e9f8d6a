"""Security keys by WebAuthn (W3C, level 2). The relying party is localhost: an IP address cannot be one."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from shared.errors import Refused

RELYING_PARTY = "localhost"
MAX_PRESENTED_CHARS = 16_384
CHALLENGE_BYTES = 32
_TIMEOUT_MS = 120_000


class KeyRefused(Refused):
    def __init__(self) -> None:
        super().__init__("what the security key showed is not right; begin again")


@dataclass(frozen=True)
class KeyPresented:
    credential_id: bytes
    public_key: bytes
    sign_count: int


class SecurityKeys:
    """`origin` is where the page is opened, such as http://localhost:8440; a key that signed for another is refused."""

    def __init__(self, origin: Callable[[], str]) -> None:
        self._origin = origin

    def to_register(self, person: str, known: Sequence[bytes]) -> tuple[str, bytes]:
        """Return what a browser asks a key for, and the challenge of it."""
        challenge = secrets.token_bytes(CHALLENGE_BYTES)
        options = generate_registration_options(
            rp_id=RELYING_PARTY,
            rp_name="Leadglass",
            user_name=person,
            user_id=sha256(b"leadglass person v1\x00" + person.encode()).digest(),
            challenge=challenge,
            timeout=_TIMEOUT_MS,
            # The key has to know for itself whom it is for: the page must not say whether an account has one.
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.PREFERRED
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=one) for one in known],
        )
        return options_to_json(options), challenge

    def to_present(self, challenge: bytes) -> str:
        return options_to_json(
            generate_authentication_options(
                rp_id=RELYING_PARTY,
                challenge=challenge,
                timeout=_TIMEOUT_MS,
                user_verification=UserVerificationRequirement.PREFERRED,
            )
        )

    def registered(self, presented: str, challenge: bytes) -> KeyPresented:
        """Raises KeyRefused."""
        try:
            key = verify_registration_response(
                credential=presented,
                expected_challenge=challenge,
                expected_rp_id=RELYING_PARTY,
                expected_origin=self._origin(),
            )
        except (WebAuthnException, ValueError, KeyError, TypeError) as exc:
            raise KeyRefused from exc
        return KeyPresented(key.credential_id, key.credential_public_key, key.sign_count)

    def verify(self, presented: str, challenge: bytes, key: KeyPresented) -> int:
        """Return the key's new counter. Raises KeyRefused: another key, challenge or page; or its counter went back."""
        try:
            shown = verify_authentication_response(
                credential=presented,
                expected_challenge=challenge,
                expected_rp_id=RELYING_PARTY,
                expected_origin=self._origin(),
                credential_public_key=key.public_key,
                credential_current_sign_count=key.sign_count,
            )
        except (WebAuthnException, ValueError, KeyError, TypeError) as exc:
            raise KeyRefused from exc
        return shown.new_sign_count
