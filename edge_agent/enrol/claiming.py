"""Writes down, signed, who this host is: for a centre whose log lost that it was enrolled."""

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from edge_agent.config import EVIDENCE_CERTIFICATE, AgentFolder, load_identity
from edge_agent.enrol.store import IdentityUnreadable
from shared.enrolment.claim import HostClaim, sign_claim
from shared.identity import HostId


def write_claim(folder: AgentFolder, machine: Sequence[bytes], now: datetime, out: Path) -> HostId:
    """Write a new file, and return whose it is. Raises NotEnrolled, IdentityUnreadable, FileExistsError, and what a key
    that does not open raises.
    """
    identity, file = load_identity(folder), folder.identity / EVIDENCE_CERTIFICATE
    config = identity.config
    try:
        certificate = file.read_text(encoding="ascii")
    except (OSError, ValueError) as exc:
        raise IdentityUnreadable(file, "it cannot be read") from exc
    claim = HostClaim(config.host_id, config.asset, config.parts, tuple(machine), now)
    with os.fdopen(os.open(out, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "wb") as written:
        written.write(sign_claim(claim, identity.signer, certificate).encode())
    return config.host_id
