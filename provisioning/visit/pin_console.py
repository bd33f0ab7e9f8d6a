"""The step that has this machine's keyboard work whatever is denied, and pins whose policy the guard follows."""

from collections.abc import Collection, Iterator, Sequence

from edge_agent.console.choose import NoConsole
from edge_agent.console.pinned import load_pins
from edge_agent.usb_policy.trust import load_trust
from provisioning.finding import Finding, Verdict
from provisioning.visit.answers import fix
from provisioning.visit.install import deny, restart_guard
from provisioning.visit.step import Context


class PinConsole:
    name = "pin-console"
    advised: Collection[str] = ()

    def run(self, context: Context) -> Sequence[Finding]:
        found = [*_console(context), *_trust(context)]
        if not context.site.deny_by_default or any(one.verdict is Verdict.FAIL for one in found):
            return found
        if context.site.policy_root is None:
            reason = "nothing is denied before the policy's root has been compared"
            return [*found, Finding("denial", Verdict.NOT_EVALUATED, reason, "repeat this step with --policy-root")]
        return [*found, *deny(context)]


def _console(context: Context) -> Iterator[Finding]:
    state, root = context.places.guard_state, context.places.root
    where = ("--state", str(state), "--root", str(root), "--sys", str(root / "sys"))
    ports = [word for port in context.site.console_ports for word in ("--port", port)]
    ended = context.programs.guard("pin-console", *where, *ports)
    if ended.exit_code == 0:
        for number, pin in enumerate(load_pins(state).consoles, start=1):
            yield Finding(
                f"console-{number}", Verdict.PASS, f"{pin.role} {pin.name} at {pin.port}, and its check takes it"
            )
    elif ended.message == str(NoConsole()):
        verdict = Verdict.PASS if context.site.no_usb_console else Verdict.NOT_EVALUATED
        do = "attach it and repeat this step, or say --no-usb-console: PS/2, serial, or over the network"
        yield Finding("console", verdict, ended.message, do)
    else:
        yield Finding("console", Verdict.FAIL, ended.message, fix(ended.message))


def _trust(context: Context) -> Iterator[Finding]:
    places, expected = context.places, context.site.policy_root
    # Compared by who pins it: the agent's account could exchange its file between two readings.
    expecting = () if expected is None else ("--expect", expected)
    where = ("--state", str(places.guard_state), "--agent-data", str(places.agent_data))
    ended = context.programs.guard("trust", *where, *expecting)
    if ended.exit_code != 0:
        yield Finding("policy-root", Verdict.FAIL, ended.message, fix(ended.message))
        return
    restart_guard(places.root)  # each time: whoever was cut off before it had pinned what no guard went by
    trust = load_trust(places.guard_state)
    said = f"policy root {trust.fingerprint}, layers {', '.join(trust.layers)}"
    if expected is None:
        do = "read root and layers to the administrator, who compares them with `leadglass-server policy root`"
        yield Finding("policy-root", Verdict.NOT_EVALUATED, f"{said}; pinned, and nobody has compared it yet", do)
    else:
        yield Finding("policy-root", Verdict.PASS, f"{said}; pinned, as the administrator named it")
