"""The self-test as one step of a visit. Run again it is made again, with another phantom."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from edge_agent.config import AgentFolder, Identity, load_identity
from edge_agent.database import DatabaseUnavailable
from edge_agent.host_watch.adjtimex import read_clock
from edge_agent.link.client import GuardClient
from provisioning.finding import Finding, Verdict
from provisioning.outcome import Outcome
from provisioning.self_test import host
from provisioning.self_test.centre import Centre, connected
from provisioning.self_test.device import judge_device
from provisioning.self_test.image import ImageTest, Journey, said
from provisioning.self_test.inclusion import judge_inclusion
from provisioning.self_test.local import LocalAgent, opened
from provisioning.self_test.made import make_phantom
from provisioning.self_test.patience import Patience
from provisioning.self_test.policy import judge_policy
from provisioning.self_test.sending import AgentPort, send
from shared.clock import Clock
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.identity import RandomBytes

NAME = "self-test"


@dataclass(frozen=True)
class Context:
    """`guard` connects to the guard of this host; `has_guard` says whether it is put to use."""

    folder: AgentFolder
    agent: AgentPort
    clock: Clock
    has_guard: bool = False
    guard: Callable[[], GuardClient] = GuardClient
    patience: Patience = field(default_factory=Patience)
    random_bytes: RandomBytes = secrets.token_bytes


def run(context: Context) -> Outcome:
    """Return what was found; whatever keeps the test from being made is a finding itself."""
    try:
        with ExitStack() as stack:
            identity = load_identity(context.folder)
            reading = context.patience.until_answered(
                lambda: stack.enter_context(opened(context.folder, identity.config)), DatabaseUnavailable
            )
            centre = stack.enter_context(connected(context.folder, identity, context.clock))
            policy = judge_policy(identity.config, reading, centre, context.clock, context.patience)
            journey = _image(context, identity, reading, centre)
            findings = [*_everything(context, identity, centre, policy, journey)]
    except (Refused, IntegrityFailure, Unavailable) as exc:
        fix = "enrol this host and start the agent first: leadglass-provision enrol"
        return Outcome(NAME, context.clock.now(), (Finding("identity", Verdict.FAIL, said(exc), fix),))
    return Outcome(NAME, context.clock.now(), tuple(findings), journey.word)


def _image(context: Context, identity: Identity, local: LocalAgent, centre: Centre) -> Journey:
    test = ImageTest(
        identity, local, centre, lambda made: send(made, context.agent), context.patience, context.random_bytes
    )
    return test.run(make_phantom(context.clock.now(), context.random_bytes))


def _everything(
    context: Context, identity: Identity, centre: Centre, policy: Finding, journey: Journey
) -> Iterator[Finding]:
    yield host.judge_keys(identity.config.keys)
    yield host.judge_certificate(identity.tls_certificate, context.clock.now())
    yield policy
    yield host.judge_clock(*read_clock(), centre.ahead)
    yield from journey.findings
    yield judge_inclusion(journey.leaf, centre, identity.trust, context.patience)
    yield judge_device(context.guard, has_guard=context.has_guard, patience=context.patience)
