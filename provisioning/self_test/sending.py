"""Sends the phantom to the agent of this very host, as a modality would: association, C-STORE, release."""

import socket
from dataclasses import dataclass

from provisioning.self_test.made import EXPLICIT_LITTLE_ENDIAN, SECONDARY_CAPTURE, Phantom
from shared.dicom.associate import Proposed
from shared.dicom.requestor import Patience, Requestor
from shared.errors import Unavailable
from shared.self_test import phantom as marks

_LOOPBACK = "127.0.0.1"
_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 (nothing listens here)
_CONNECT_S = 5.0
_PATIENCE = Patience(associate_s=15.0, answer_s=60.0, send_s=15.0)


class AgentNotListening(Unavailable):
    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"no agent listens for modalities on {address}: {why}")
        self.address, self.why = address, why


@dataclass(frozen=True)
class AgentPort:
    """Where the agent of this host listens; `host` may be any of the machine's own addresses, or all of them."""

    host: str = _LOOPBACK
    port: int = 11112
    ae_title: str = "LEADGLASS"

    @property
    def reached_at(self) -> str:
        return _LOOPBACK if self.host in _EVERY_ADDRESS else self.host

    def __str__(self) -> str:
        return f"{self.reached_at}:{self.port}"


def send(made: Phantom, agent: AgentPort) -> None:
    """Return once the agent has acknowledged the phantom.

    The sender is this machine's loopback, whichever of its addresses the agent listens on, so that policy need admit
    nothing that comes from a wire. Raises AgentNotListening, Rejected, NotAccepted, StoreRefused, ConnectionLost,
    PeerTooSlow, PeerBrokeProtocol, Aborted.
    """
    try:
        connection = socket.create_connection(
            (agent.reached_at, agent.port), timeout=_CONNECT_S, source_address=(_LOOPBACK, 0)
        )
    except OSError as exc:
        raise AgentNotListening(str(agent), exc.strerror or str(exc)) from exc
    with connection:
        association = Requestor(
            connection,
            calling_ae_title=marks.AE_TITLE,
            called_ae_title=agent.ae_title,
            contexts=[Proposed(SECONDARY_CAPTURE, (EXPLICIT_LITTLE_ENDIAN,))],
            patience=_PATIENCE,
        )
        association.associate()
        association.store(SECONDARY_CAPTURE, made.sop_instance_uid, EXPLICIT_LITTLE_ENDIAN, [made.dataset])
        association.release()
