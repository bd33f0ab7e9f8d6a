"""Makes the hand-over of this host: gathers what it is, signs that with what its steps found, draws the page."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent import SOFTWARE
from edge_agent.config import AgentFolder, Identity, load_identity
from edge_agent.enrol.store import IdentityUnreadable
from edge_agent.health.local import read_status
from edge_agent.link.client import GuardClient, GuardRefused, GuardUnavailable
from provisioning.handover.report import HandOver, SignedHandOver, sign
from provisioning.outcome import Outcome, in_order
from shared.clock import Clock
from shared.enrolment.chain import pem_of

_EVIDENCE = "evidence.crt"
_MOST_CERTIFICATES = 8


@dataclass(frozen=True)
class Persons:
    """As typed."""

    engineer: str
    received_by: str


@dataclass(frozen=True)
class Written:
    signed: SignedHandOver
    json: Path
    pdf: Path


def make(
    folder: AgentFolder, guard_socket: Path, made: Sequence[Outcome], persons: Persons, clock: Clock
) -> SignedHandOver:
    """Raises NotEnrolled, IdentityUnreadable, Malformed, KeyVaultUnavailable, KeyNotOfThisTpm, DatabaseUnavailable."""
    identity, status = load_identity(folder), read_status(folder)
    report = HandOver(
        host_id=identity.config.host_id,
        asset=identity.config.asset,
        made=clock.now(),
        engineer=persons.engineer,
        received_by=persons.received_by,
        software=_software(guard_socket),
        keys=identity.config.keys,
        certificate_until=status.certificate_expires,
        policy={layer.layer: layer.in_force for layer in status.layers},
        steps=in_order(made),
    )
    return sign(report, identity.signer, _chain(folder, identity))


def write(signed: SignedHandOver, folder: Path) -> Written:
    """Write the signed file and its page, named for host and time. Raises OSError."""
    from provisioning.handover.page import draw

    report = signed.report
    name = f"hand-over-{report.host_id}-{report.made:%Y%m%dT%H%M%SZ}"
    written = Written(signed, folder / f"{name}.json", folder / f"{name}.pdf")
    folder.mkdir(parents=True, exist_ok=True)
    written.json.write_bytes(signed.encode())
    written.pdf.write_bytes(draw(signed))
    return written


def _software(guard_socket: Path) -> dict[str, str]:
    found = {"agent": SOFTWARE.removeprefix("leadglass-agent "), "python": platform.python_version()}
    if guard_socket.exists():
        try:
            with GuardClient(guard_socket) as guard:
                found["guard"] = guard.hello().software.removeprefix("leadglass-guard ")
        except (GuardUnavailable, GuardRefused):
            found["guard"] = "does not answer"
    return found


def _chain(folder: AgentFolder, identity: Identity) -> str:
    """Return the certificate of the host's evidence key, with all that leads from it to the root that is pinned."""
    file = folder.identity / _EVIDENCE
    try:
        own = file.read_text("ascii")
    except (OSError, ValueError) as exc:
        raise IdentityUnreadable(file, "it cannot be read") from exc
    links = pem_of(identity.trust.between).decode()
    return own if own.count("BEGIN") + links.count("BEGIN") > _MOST_CERTIFICATES else own + links
