"""Brings reports to a modality on a new association.

DICOM PS3.4 section J.3.3: we ask for the association and provide the service, so the role of provider is proposed for
the context (PS3.7 section D.3.3.4). One that accepts the context is told, whatever it answers to the proposal of roles:
many do not answer it at all.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import islice

from edge_agent.capture.negotiation import COMMITMENT_SYNTAXES
from edge_agent.commitment.reports import Report
from shared.dicom.associate import Proposed
from shared.dicom.dimse import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from shared.dicom.requestor import NotAccepted, Patience, Requestor
from shared.policy.routes import Peer
from shared.routes.peer import PeerStream

_PATIENCE = Patience(associate_s=10.0, answer_s=30.0, send_s=30.0)
_MOST = 1000  # reports on one association


class ReportAssociation:
    """One association with a modality. `connect` yields a stream to a peer and says what it raises."""

    def __init__(
        self,
        peer: Peer,
        our_ae_title: str,
        connect: Callable[[Peer], AbstractContextManager[PeerStream]],
        patience: Patience = _PATIENCE,
    ) -> None:
        self._peer, self._our_ae_title, self._connect, self._patience = peer, our_ae_title, connect, patience
        self._stream: PeerStream | None = None
        self._is_broken_off = False

    def bring(self, reports: Iterable[Report], answered: Callable[[Report, int], None]) -> None:
        """Deliver reports, one after the other, and call `answered` with each and the status of its answer.

        Raises NotAccepted, and what `connect`, `Requestor.associate`, `reports` and `answered` raise.
        """
        with self._connect(self._peer) as stream:
            self._stream = stream
            if self._is_broken_off:
                stream.break_off()  # said while it was being made
            requestor = Requestor(
                stream,
                calling_ae_title=self._our_ae_title,
                called_ae_title=self._peer.ae_title,
                contexts=[Proposed(STORAGE_COMMITMENT, COMMITMENT_SYNTAXES, scp=True)],
                patience=self._patience,
            )
            syntaxes = list(requestor.associate().contexts.values())
            if not syntaxes:
                requestor.release()
                raise NotAccepted(STORAGE_COMMITMENT, "")
            try:
                for report in islice(reports, _MOST):
                    data_set = report.encode(syntaxes[0])
                    answered(report, requestor.report_event(
                        STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, report.event_type, data_set
                    ))  # fmt: skip
            except BaseException:
                requestor.abort()
                raise
            requestor.release()

    def break_off(self) -> None:
        """End it from another thread, also before it has begun; `bring` then raises."""
        self._is_broken_off = True
        stream = self._stream
        if stream is not None:
            stream.break_off()
