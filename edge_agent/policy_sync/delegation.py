"""Reads from the trusted policy metadata who signs for this host's layer: those people may also command it."""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tuf.api import exceptions as tuf
from tuf.api.metadata import Key, Metadata, Root, Targets

from edge_agent.log import why
from edge_agent.policy_sync.verification import (
    Chain,
    PolicyVerification,
    TrustCacheUnavailable,
    verify_signers_agree,
)
from shared import clock
from shared.envelope import Signatories
from shared.errors import Refused
from shared.identity import KeyId
from shared.signing import EvidencePublicKey

_SHOWN = re.compile(r"\w[\w .@'-]{0,63}")


class DelegationExpired(Refused):
    """Expired metadata says nothing of who may sign now: somebody may have been taken out since."""

    def __init__(self, *, expires: datetime, now: datetime) -> None:
        super().__init__(
            f"the policy metadata that says who may command this host expired at {clock.text(expires)}, it is "
            f"{clock.text(now)} here"
        )
        self.expires, self.now = expires, now


class NotDelegated(Refused):
    def __init__(self, layer: str) -> None:
        super().__init__(f"the trusted policy metadata gives layer {layer} to nobody")
        self.layer = layer


@dataclass(frozen=True)
class Delegation:
    """Who signs for a layer, until when that is so, and the time by which the centre said so."""

    signatories: Signatories
    expires: datetime
    signed_at: datetime | None

    def verify_in_date(self, now: datetime) -> None:
        """Raises DelegationExpired."""
        if now >= self.expires:
            raise DelegationExpired(expires=self.expires, now=now)


def read_delegation(folder: Path, layer: str, verification: PolicyVerification) -> Delegation:
    """Return what the metadata that was verified last says.

    Raises TrustCacheUnavailable, NotDelegated, MetadataInvalid.
    """
    chain = verification.chain()
    try:
        root = Metadata[Any].from_file(str(folder / "root.json"))
        targets = Metadata[Any].from_file(str(folder / "targets.json"))
        if not isinstance(root.signed, Root) or not isinstance(targets.signed, Targets):
            raise TrustCacheUnavailable("root and targets of what was verified are something else")
        # What lies in the folder was verified when it came; a file that was damaged since commands nobody.
        root.signed.verify_delegate(Targets.type, targets.signed_bytes, targets.signatures)
    except (tuf.StorageError, tuf.RepositoryError) as exc:
        raise TrustCacheUnavailable(f"targets of what was verified: {why(exc)}") from exc
    # TUF leaves in the folder what was refused after it: it commands nobody either.
    verify_signers_agree(root.signed, targets.signed)
    return _delegation(root.signed, targets.signed, layer, chain)


def _delegation(root: Root, targets: Targets, layer: str, chain: Chain) -> Delegation:
    delegations = targets.delegations
    role = None if delegations is None else (delegations.roles or {}).get(layer)
    if delegations is None or role is None:
        raise NotDelegated(layer)
    found = [_evidence_key(delegations.keys[key_id]) for key_id in role.keyids if key_id in delegations.keys]
    # One key under two names of TUF's is still one person.
    keys = {key.key_id: key for key in found if key is not None}
    return Delegation(Signatories(tuple(keys.values()), role.threshold, _names(root)), chain.expires, chain.signed_at)


def _names(root: Root) -> dict[KeyId, str]:
    """Return whose keys they are by the root, where it says so in a way that can be shown."""
    named = ((_evidence_key(key), key.unrecognized_fields.get("name")) for key in root.keys.values())
    return {
        key.key_id: name
        for key, name in named
        if key is not None and isinstance(name, str) and _SHOWN.fullmatch(name) is not None
    }


def _evidence_key(key: Key) -> EvidencePublicKey | None:
    """Return the key in the form that verifies commands, None where it is of another kind and can sign none."""
    try:
        public = serialization.load_pem_public_key(str(key.keyval.get("public", "")).encode())
    except (ValueError, UnsupportedAlgorithm):
        return None
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        return None
    return EvidencePublicKey(public)
