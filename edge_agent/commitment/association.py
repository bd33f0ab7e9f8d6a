"""Brings reports to a modality on a new association, with pynetdicom: few and small messages, seldom.

DICOM PS3.4 section J.3.3: we ask for the association and provide the service, so the role of provider is proposed for
the context (PS3.7 section D.3.3.4).
"""

import ssl
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import islice

from edge_agent.capture.negotiation import COMMITMENT_SYNTAXES
from edge_agent.commitment.reports import Report
from shared.dicom.dimse import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from shared.errors import Unavailable
from shared.policy.routes import Peer

_CONNECT_S, _ANSWER_S = 10.0, 30.0
_MOST = 1000  # reports on one association


class PeerUnavailable(Unavailable):
    def __init__(self, peer: Peer, why: str) -> None:
        super().__init__(f"{peer.ae_title} at {peer.host} port {peer.port} does not take reports: {why}")
        self.peer, self.why = peer, why


class ReportAssociations:
    """`context` makes the TLS context for a list of trusted certificates. Raises DicomTlsUnusable."""

    def __init__(self, our_ae_title: str, context: Callable[[str], ssl.SSLContext]) -> None:
        self._our_ae_title, self._context = our_ae_title, context

    def bring(self, peer: Peer, reports: Iterator[Report]) -> Iterator[tuple[Report, int]]:
        """Deliver reports on one new association; yield each with the status of its answer. Raises PeerUnavailable."""
        from pydicom.uid import UID
        from pynetdicom.ae import ApplicationEntity
        from pynetdicom.dsutils import decode
        from pynetdicom.presentation import build_role

        entity = ApplicationEntity(self._our_ae_title)
        entity.connection_timeout = entity.acse_timeout = _CONNECT_S
        entity.dimse_timeout = entity.network_timeout = _ANSWER_S
        entity.add_requested_context(STORAGE_COMMITMENT, list(COMMITMENT_SYNTAXES))
        tls = (self._context(peer.trust), peer.name or peer.host) if peer.trust else None
        association = entity.associate(
            peer.host,
            peer.port,
            ae_title=peer.ae_title,
            ext_neg=[build_role(STORAGE_COMMITMENT, scp_role=True)],
            tls_args=tls,
        )
        if not association.is_established:
            raise PeerUnavailable(peer, "it refused the association" if association.is_rejected else "no association")
        try:
            if not association.accepted_contexts:
                raise PeerUnavailable(peer, "it does not accept storage commitment")
            for context in association.accepted_contexts:
                # One that accepted the context and did not answer the proposal of roles is told all the same.
                context._as_scp = True
            for number, report in enumerate(islice(reports, _MOST), 1):
                data_set = decode(BytesIO(report.encode(COMMITMENT_SYNTAXES[0])), True, True)
                answer, _ = association.send_n_event_report(
                    data_set,
                    report.event_type,
                    UID(STORAGE_COMMITMENT),
                    UID(STORAGE_COMMITMENT_INSTANCE),
                    number % 65_536,
                )
                if "Status" not in answer:
                    raise PeerUnavailable(peer, "it did not answer a report")
                yield report, int(answer.Status)
        finally:
            if association.is_established:
                association.release()
