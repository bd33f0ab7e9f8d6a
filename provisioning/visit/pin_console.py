"""The step that has this machine's keyboard work whatever is denied, and pins whose policy the guard follows."""

from collections.abc import Collection, Iterator, Sequence

from edge_agent.console.choose import NoConsole
from edge_agent.console.pinned import load_pins
from edge_agent.usb_policy.trust import load_trust
from provisioning.finding import Finding, Verdict
from provisioning.visit.answers import AGAIN, fix
from provisioning.visit.step import Context


class PinConsole:
    name = "pin-console"
    advised: Collection[str] = ()

    def run(self, context: Context) -> Sequence[Finding]:
        return [*_console(context), *_trust(context)]


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
        yield Finding("console", Verdict.NOT_EVALUATED, f"{ended.message}: PS/2, serial, or over the network")
    else:
        yield Finding("console", Verdict.FAIL, ended.message, fix(ended.message))


def _trust(context: Context) -> Iterator[Finding]:
    places = context.places
    ended = context.programs.guard(
        "trust", "--state", str(places.guard_state), "--agent-data", str(places.agent_data)
    )  # fmt: skip
    if ended.exit_code != 0:
        yield Finding("policy-root", Verdict.FAIL, ended.message, fix(ended.message))
        return
    trust, expected = load_trust(places.guard_state), context.site.policy_root
    pinned = f"the guard follows policy root {trust.fingerprint} with {', '.join(trust.layers)}"
    if expected is None:
        do = "read root and layers to the administrator, who compares them with `leadglass-server policy root`"
        yield Finding("policy-root", Verdict.NOT_EVALUATED, f"{pinned}; nobody has compared it yet", do)
    elif expected == trust.fingerprint:
        yield Finding("policy-root", Verdict.PASS, f"{pinned}, as the administrator named it")
    else:
        do = f"stop: what enrolled this host is not your centre; tell the administrator. If it was mistyped, {AGAIN}"
        yield Finding("policy-root", Verdict.FAIL, f"{pinned}, and the administrator named {expected}", do)
