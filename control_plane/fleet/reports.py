"""Hosts' last reports as the centre verified them, so that one that did not change is not verified again."""

from dataclasses import dataclass, replace
from hashlib import sha256

from shared.fleet.state import CaptureState, HostState
from shared.signing import EvidencePublicKey, Label, verify_statement

_MOST_KEPT = 20_000


@dataclass(frozen=True)
class Report:
    """What is remembered of a report: `outline` is the state without capture and lists, which grow with a host.

    Two reports with one `sha256` say the same, whatever was left out.
    """

    sha256: bytes
    outline: HostState

    @classmethod
    def of(cls, state: HostState, payload: bytes) -> "Report":
        """Return what is remembered of `state`, of which `payload` is the encoding."""
        guard = state.guard and replace(state.guard, devices=(), others=(), findings=())
        return cls(sha256(payload).digest(), replace(state, capture=CaptureState(), guard=guard))


class VerifiedReports:
    """Remembers one report of each host. Safe to ask from any thread.

    What is asked about is the row as it is now: other bytes, or another key, are verified as if nothing were known.
    """

    def __init__(self, most_kept: int = _MOST_KEPT) -> None:
        self._most_kept = most_kept
        self._kept: dict[str, tuple[bytes, Report]] = {}

    def read(self, host_id: str, signed: bytes, spki: bytes) -> Report:
        """Return what a report in the database says. Raises Malformed, WrongSigner, SignatureInvalid."""
        digest = _digest(signed, spki)
        kept = self._kept.get(host_id)
        if kept is not None and kept[0] == digest:
            return kept[1]
        _, report = verify_report(signed, spki)
        self._keep(host_id, digest, report)
        return report

    def remember(self, host_id: str, signed: bytes, spki: bytes, report: Report) -> None:
        """Keep what `verify_report` gave for just these bytes and this key."""
        self._keep(host_id, _digest(signed, spki), report)

    def _keep(self, host_id: str, digest: bytes, report: Report) -> None:
        if host_id not in self._kept and len(self._kept) >= self._most_kept:
            self._kept.clear()
        self._kept[host_id] = digest, report


def verify_report(signed: bytes, spki: bytes) -> tuple[HostState, Report]:
    """Return a report, and what is remembered of it. Raises Malformed, WrongSigner, SignatureInvalid."""
    payload = verify_statement(signed, Label.HOST_STATE, EvidencePublicKey.parse(spki))
    state = HostState.parse(payload)
    return state, Report.of(state, payload)


def _digest(signed: bytes, spki: bytes) -> bytes:
    return sha256(sha256(spki).digest() + signed).digest()
