"""What the guard answers at its socket. Whoever asks learns what is so, and changes nothing but how far it has read."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from edge_agent import SOFTWARE
from edge_agent.devices.journal import GuardJournal, Note
from edge_agent.link.protocol import MAX_RULE_CHARS, Explanation, Rehearsal, Welcome
from edge_agent.log import Log, why
from edge_agent.usb_policy.keeper import PolicyKeeper
from edge_agent.usb_policy.warden import Warden
from shared.devices.device import HID_CLASS, Interface, UsbDevice
from shared.devices.policy import DevicePolicy
from shared.devices.record import GuardEvent
from shared.devices.verdict import Verdict
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.fleet.devices import MAX_DEVICES, MAX_FINDINGS, MAX_OTHERS, GuardReport

_MINOR = 4
_T = TypeVar("_T")
# What a BadUSB stick turns into: a keyboard that nobody knows. Vendor and product are those that are free for tests.
_NOBODYS_KEYBOARD = UsbDevice(
    port="self-test", parent="", vendor=0x1209, product=0x0001, name="Leadglass self-test", serial="",
    fingerprint="", parent_fingerprint="", interfaces=(Interface(HID_CLASS, 1, 1),),
)  # fmt: skip


class NoSuchDevice(Refused):
    def __init__(self, port: str) -> None:
        super().__init__(f"nothing is attached at {port}")
        self.port = port


class NotYetWritten(Refused):
    def __init__(self, *, upto: int, written: int) -> None:
        super().__init__(f"there are {written} records, so {upto} cannot be confirmed")
        self.upto, self.written = upto, written


class GuardDesk:
    """`report` returns one whose lists are of any length; they are cut here, and what is left out is counted.

    `rehearse` judges a device that is not there, and nothing comes of it.
    """

    def __init__(
        self,
        warden: Warden,
        keeper: PolicyKeeper,
        journal: GuardJournal,
        log: Log,
        *,
        policy: Callable[[], DevicePolicy | None],
        report: Callable[[], GuardReport],
        rehearse: Callable[[UsbDevice], Verdict],
    ) -> None:
        self._warden, self._keeper, self._journal, self._log = warden, keeper, journal, log
        self._policy, self._report, self._rehearse = policy, report, rehearse

    def welcome(self) -> Welcome:
        return Welcome(SOFTWARE, self._journal.written(), self._journal.confirmed())

    def offer(self, head: bytes | None, layer: bytes | None) -> None:
        """Raises Malformed, WrongLayer."""
        self._keeper.offer(head, layer)

    def report(self) -> GuardReport:
        whole = self._report()
        devices, others = _first(whole.devices, MAX_DEVICES), _first(whole.others, MAX_OTHERS)
        findings = _first(whole.findings, MAX_FINDINGS)
        shown = len(devices) + len(others) + len(findings)
        left_out = whole.left_out + len(whole.devices) + len(whole.others) + len(whole.findings) - shown
        return replace(whole, devices=devices, others=others, findings=findings, left_out=left_out)

    def records(self, after: int, most: int) -> list[bytes]:
        return self._journal.after(after, most)

    def confirm(self, upto: int) -> None:
        """Raises NotYetWritten, DatabaseUnavailable."""
        written = self._journal.written()
        if upto > written:
            raise NotYetWritten(upto=upto, written=written)
        self._journal.confirm(upto)

    def explain(self, port: str) -> Explanation:
        """Raises NoSuchDevice."""
        state = next((state for state in self._warden.states() if state.port == port), None)
        if state is None:
            raise NoSuchDevice(port)
        policy = self._policy()
        rule = policy.rules[state.rule - 1].rule.text() if policy and 0 < state.rule <= len(policy.rules) else ""
        contact, language = (policy.contact, policy.language) if policy else ("", "en")
        return Explanation(state, rule[:MAX_RULE_CHARS], contact, language)

    def rehearse(self) -> Rehearsal:
        device = _NOBODYS_KEYBOARD
        verdict = self._rehearse(device)
        return Rehearsal(
            id=device.id,
            name=device.name,
            interfaces=" ".join(map(str, device.interfaces)),
            target=verdict.target,
            would_be=verdict.would_be or verdict.target,
            cause=verdict.cause,
            rule=verdict.rule,
            detail=verdict.detail,
        )

    def stranger(self, uid: int, pid: int) -> None:
        try:
            self._journal.record(Note(GuardEvent.PEER_REFUSED, f"uid {uid}", {"pid": str(pid)}, _MINOR))
        except (Unavailable, IntegrityFailure) as exc:
            self._log.event("guard.not-recorded", why=why(exc))


def _first(items: Sequence[_T], most: int) -> tuple[_T, ...]:
    return tuple(items[:most])
