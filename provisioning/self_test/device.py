"""What this host's guard decides about a keyboard that nobody knows. Nothing is plugged in, and nothing enforced."""

from collections.abc import Callable
from pathlib import Path

from edge_agent.link.client import GuardClient, GuardRefused, GuardUnavailable
from edge_agent.link.protocol import Rehearsal
from provisioning.finding import Finding, Verdict
from provisioning.install.item import Part
from provisioning.install.local import LocalFiles
from provisioning.self_test.patience import Patience
from shared.devices.verdict import Target
from shared.fleet.devices import GuardReport

CHECK = "device-decided"
_USE = "where it is to have one: leadglass-provision visit --from pin-console --guard --deny-by-default"
_POLICY = "see that the guard has a policy: leadglass-guard status"


def is_put_to_use(root: Path, socket: Path) -> bool:
    """Return whether a guard answers on this host, or has to because the kernel denies by itself. Raises Malformed."""
    return socket.exists() or Part.DENIAL in LocalFiles(root).noted().parts


def judge_device(connect: Callable[[], GuardClient], *, has_guard: bool, patience: Patience | None = None) -> Finding:
    """`has_guard`: one is put to use on this host. `patience` gives it the time to start and to hear of a policy."""
    if not has_guard:
        return Finding(CHECK, Verdict.NOT_EVALUATED, "no device guard is put to use on this host", _USE)
    found = [_looked(connect)]

    def look() -> Finding | None:
        found[0] = _looked(connect)
        return found[0] if found[0].verdict is Verdict.PASS else None

    if patience is not None and found[0].verdict is not Verdict.PASS:
        patience.until(look)
    return found[0]


def _looked(connect: Callable[[], GuardClient]) -> Finding:
    try:
        with connect() as guard:
            return _judged(guard.report(), guard.rehearse())
    except (GuardUnavailable, GuardRefused) as exc:
        return Finding(CHECK, Verdict.FAIL, str(exc), "systemctl status leadglass-guard")


def _judged(report: GuardReport, said: Rehearsal) -> Finding:
    if report.policy == 0:
        return Finding(
            CHECK, Verdict.FAIL, f"the guard has no device policy: {report.policy_error or 'none came'}", _POLICY
        )
    observed = (
        f"; it only observes: enforced it would be {said.would_be.value}" if said.would_be is not said.target else ""
    )
    why = (
        f"decided (simulated, nothing was plugged in and nothing enforced) by policy {report.policy}: "
        f"a keyboard nobody knows: {said.target.value} ({said.cause.value}){observed}"
    )
    if said.would_be is Target.ALLOW:
        return Finding(CHECK, Verdict.FAIL, why, "have the administrator read the policy's device rules")
    return Finding(CHECK, Verdict.PASS, why)
