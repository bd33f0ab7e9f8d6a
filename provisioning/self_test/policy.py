"""Is what this host acts by the policy that the centre has published, verified on this very host, and in date."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from edge_agent.config import HostConfig
from edge_agent.policy_sync.layers import HostPolicy, read_layers
from edge_agent.policy_sync.verification import Chain, PolicyVerification
from provisioning.finding import Finding, Verdict
from provisioning.self_test.centre import Centre
from provisioning.self_test.image import said
from provisioning.self_test.local import LocalAgent
from provisioning.self_test.patience import Patience
from shared.clock import Clock, text
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.policy.accept import accept

CHECK = "policy-in-force"
_FIX = "leadglass-agent status shows the versions; the agent's log says why it does not follow"


def judge_policy(config: HostConfig, local: LocalAgent, centre: Centre, clock: Clock, patience: Patience) -> Finding:
    """Verify what the centre has published from the pinned root on, and hold it against what is in force here.

    An agent that has just been started, or a policy that has just been published, is given its time.
    """

    def look() -> Finding | None:
        found[:] = [_judged(config, local, centre, clock)]
        return found[0] if found[0].verdict is Verdict.PASS else None

    found = list[Finding]()
    return patience.until(look) or found[0]


def _judged(config: HostConfig, local: LocalAgent, centre: Centre, clock: Clock) -> Finding:
    try:
        in_force = local.in_force()
        versions = in_force.versions if in_force is not None else {}
        published, chain = _published(config, local, centre)
    except (Refused, IntegrityFailure) as exc:
        return Finding(CHECK, Verdict.FAIL, said(exc), _FIX)
    except Unavailable as exc:
        return Finding(CHECK, Verdict.NOT_EVALUATED, said(exc), "make the centre's hosts door reachable")
    wanted = {each.layer: each.version for each in published.acts_by}
    if dict(versions) != wanted:
        return Finding(CHECK, Verdict.FAIL, f"in force {_named(versions)}, published {_named(wanted)}", _FIX)
    if chain.expires <= clock.now():
        return Finding(CHECK, Verdict.FAIL, f"{_named(versions)} expired at {text(chain.expires)}", _FIX)
    return Finding(CHECK, Verdict.PASS, f"{_named(versions)} as published, verified here, until {text(chain.expires)}")


def _published(config: HostConfig, local: LocalAgent, centre: Centre) -> tuple[HostPolicy, Chain]:
    """Raises what the agent's own verification raises, DoorUnavailable, DoorRefused."""
    layers = {name: bundle for name in config.layers if (bundle := centre.layer(name)) is not None}
    head = centre.head()
    if head is None:
        raise Refused("the centre has published no policy")
    held = local.held()
    with tempfile.TemporaryDirectory(prefix="leadglass-self-test-") as folder:
        verification = PolicyVerification(
            layers=config.layers, host=config.host_id, folder=Path(folder) / "tuf", root=config.policy_root
        )
        published = read_layers(verification.verify(head, layers, held), config.host_id)
        for newest in published.newest:
            accept(newest, held.get(newest.layer))
        return published, verification.chain()


def _named(versions: Mapping[str, int]) -> str:
    return ", ".join(f"{layer} {version}" for layer, version in versions.items()) or "nothing"
