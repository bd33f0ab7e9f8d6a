"""Two policies: the first lets a modality send, the second takes that away, and no older one comes back."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from time import monotonic
from typing import Any

from provisioning.demo.attacks import Store
from provisioning.demo.expectations import Expectation
from provisioning.demo.images import Image
from provisioning.demo.insider import Insider
from provisioning.demo.modality import AssociationRefused
from provisioning.demo.processes import Child, Ran, run, wait_until
from provisioning.demo.stage import Centre, Stage
from provisioning.demo.steps.capture import modality
from provisioning.demo.steps.enrolment import Host, start_agent
from shared import clock
from shared.policy.document import ORGANISATION

FIRST_AE_TITLE, SECOND_AE_TITLE = "CT1", "CT2"
_PUSH_LIMIT_S = 1.0
# Longer than the demo: what arrives meanwhile was pushed. Without a broker it is pulled, and often.
_RARELY_S, _OFTEN_S = 3600, 1
_WAIT_S = 30.0
_INSIST_EVERY_S = 1.0

_YAML = """\
layer: organisation
modalities:
  - ae_title: {ae_title}
    description: {description}
grading: {{default: restricted}}
timings: {{state_every_s: 1, pull_every_s: {pull_every_s}}}
"""

EXPECTED_FIRST = (
    Expectation("closed-without-policy", "before the first policy the host's DICOM port is closed"),
    Expectation("mistake-named", "a mistake in a policy file is named with its line, and nothing is published"),
    Expectation("first-policy", "the administrator's signed policy reaches the host and opens its port"),
)
_PUSHED = Expectation("second-policy-in-force", "the next policy is in force at the host within a second, over MQTT")
_PULLED = Expectation("second-policy-in-force", "the next policy comes into force at the host, pulled over HTTPS")
_EXPECTED_SECOND = (
    Expectation("removed-modality-refused", "the modality that it no longer lists is refused"),
    Expectation("added-modality-accepted", "the modality that it now lists is served"),
    Expectation(
        "refusal-recorded", "the host has recorded the refusal, signed, and the control plane holds the record"
    ),
    Expectation("restart-keeps-policy", "the restarted host still has the newest policy in force"),
    Expectation(
        "replayed-policy-refused", "an older policy, validly signed and replayed to the restarted host, is refused"
    ),
    Expectation("current-policy-returns", "the host goes on with the newest policy once it is offered again"),
)


def expected_second(*, broker: bool) -> tuple[Expectation, ...]:
    return (_PUSHED if broker else _PULLED, *_EXPECTED_SECOND)


def publish_first(stage: Stage, centre: Centre, host: Host) -> None:
    stage.judge("closed-without-policy", not modality(FIRST_AE_TITLE, host).is_answered(), f"port {host.dicom_port}")
    _show_a_mistake(stage, centre)
    pull = _OFTEN_S if centre.mqtt_port is None else _RARELY_S
    with stage.display.doing("leadglass-server policy publish") as doing:
        published = publish(stage, centre, 1, _yaml(FIRST_AE_TITLE, "CT, room 1.14", pull))
        doing.at("waiting until the host has it in force")
        waited = wait_until(lambda: _is_in_force(centre, host, 1, "capturing"), _WAIT_S)
    seen = centre.people.host(host.host_id)
    said = published.out.strip() or published.message
    evidence = f"{said}; the host reports {seen['state']}, policy in force {seen.get('policy_in_force')}"
    stage.judge("first-policy", published.exit_code == 0 and waited is not None, evidence)


def publish_second(stage: Stage, centre: Centre, host: Host, agent: Child, images: Sequence[Image]) -> Child:
    """Return the agent's process, which is another one afterwards."""
    insider = Insider(stage.folders.control_plane, centre.mqtt_port, ORGANISATION) if centre.mqtt_port else None
    recorded = insider.current() if insider else {}
    _change(stage, centre, host, images)
    with stage.display.doing("restarting the agent"):
        stage.children.stop(agent)
        before = _last_number(centre, host)
        if insider:
            insider.replay(recorded)
        agent = start_agent(stage, host)
    with stage.display.doing("replaying the first policy to the restarted agent"):
        refused = _replay(stage, centre, host, before, insider, recorded)
    started = next((r for r in records(centre, host, after=before) if r["event"] == "agent.started"), None)
    state = centre.people.host(host.host_id)
    stage.judge(
        "restart-keeps-policy",
        started is not None and state["policy_in_force"] == 2,
        f"policy in force {state['policy_in_force']}, accepted {state['policy_accepted']}",
    )
    held = refused is not None and "PolicyRollback" in refused["reason"]
    stage.judge("replayed-policy-refused", held, refused["reason"] if refused else "no refusal was recorded")
    back = wait_until(lambda: not centre.people.host(host.host_id)["policy_error"], _WAIT_S)
    again = centre.people.host(host.host_id)
    stage.judge(
        "current-policy-returns",
        back is not None and again["policy_in_force"] == 2,
        f"policy in force {again['policy_in_force']}, last error: {again['policy_error'] or 'none'}",
    )
    return agent


def publish(stage: Stage, centre: Centre, number: int, text: str) -> Ran:
    file = stage.folders.policies / f"policy-{number}.yaml"
    file.write_text(text)
    return run(
        "leadglass-server",
        "policy",
        "publish",
        str(file),
        "--as",
        str(stage.folders.credential),
        "--url",
        centre.people.url,
    )


def records(centre: Centre, host: Host, *, after: int = 0) -> list[Mapping[str, Any]]:
    """Return the host's audit records numbered above `after`, as the control plane holds them."""
    found: list[Mapping[str, Any]] = []
    while True:
        last = int(found[-1]["seq"]) if found else after
        page = centre.people.get("/api/v1/audit/records", source=host.host_id, after=last, limit=1000)["records"]
        if not page:
            return found
        found += page


def _show_a_mistake(stage: Stage, centre: Centre) -> None:
    mistaken = _yaml(FIRST_AE_TITLE, "CT, room 1.14", _RARELY_S).replace("ae_title", "ae_titel")
    with stage.display.doing("leadglass-server policy publish, with a mistake in it"):
        refused = publish(stage, centre, 0, mistaken)
    version = centre.people.status()["policy"]["version"]
    held = refused.exit_code == 2 and "policy-0.yaml:3" in refused.err and not version
    named = next((line for line in refused.err.splitlines() if "policy-0.yaml:3" in line), refused.message)
    stage.judge("mistake-named", held, named.rpartition("/")[2])


def _change(stage: Stage, centre: Centre, host: Host, images: Sequence[Image]) -> None:
    began = _last_number(centre, host)
    with stage.display.doing("leadglass-server policy publish") as doing:
        publish(stage, centre, 2, _yaml(SECOND_AE_TITLE, "CT, room 1.15", _OFTEN_S)).succeeded()
        doing.at("waiting until the host reports it in force")
        wait_until(lambda: _is_in_force(centre, host, 2, "capturing"), _WAIT_S)
        accepted = _wait_for(centre, host, began, "policy.accepted")
    published = _published(centre, 2)
    _judge_arrival(stage, centre, published, accepted)
    try:
        answers = list(modality(FIRST_AE_TITLE, host).send(images))
        stage.judge("removed-modality-refused", False, f"{len(answers)} images of {FIRST_AE_TITLE} were taken")
    except AssociationRefused as exc:
        stage.judge("removed-modality-refused", exc.why == "calling AE title not recognised", str(exc))
    answers = list(modality(SECOND_AE_TITLE, host).send(images))
    stage.judge(
        "added-modality-accepted",
        all(sent.acknowledged for sent in answers),
        f"{SECOND_AE_TITLE}: {len(answers)} sent, {sum(s.acknowledged for s in answers)} acknowledged",
    )
    refusal = _wait_for(centre, host, began, "capture.association-refused")
    named = refusal is not None and any(one["name"] == FIRST_AE_TITLE for one in refusal["who"])
    evidence = f"record {refusal['seq']} of the host: {refusal['reason']}" if refusal else "no record arrived"
    stage.judge("refusal-recorded", named, evidence)


def _judge_arrival(
    stage: Stage, centre: Centre, published: datetime | None, accepted: Mapping[str, Any] | None
) -> None:
    if published is None or accepted is None:
        stage.judge("second-policy-in-force", False, "the audit log does not say that it was published and accepted")
        return
    # Both records bear the same machine's clock here.
    took_s = (clock.parse(accepted["time"]) - published).total_seconds()
    if centre.mqtt_port is None:
        stage.judge(
            "second-policy-in-force",
            took_s < _WAIT_S,
            f"after {took_s:.2f} s; without a broker a second is not promised",
        )
        return
    stage.judge(
        "second-policy-in-force",
        took_s < _PUSH_LIMIT_S,
        f"after {took_s * 1000:.0f} ms, the next pull over HTTPS was {_RARELY_S} s away",
    )


def _replay(
    stage: Stage, centre: Centre, host: Host, before: int, insider: Insider | None, recorded: dict[str, bytes]
) -> Mapping[str, Any] | None:
    """Offer the first policy again until the restarted host has refused it; return its record of that."""
    block: AbstractContextManager[None] = nullcontext()
    if insider is None:
        block = Store(stage.folders.control_plane).policy_rolled_back(ORGANISATION)
    with block:
        began, refused = monotonic(), None
        while refused is None and monotonic() - began < _WAIT_S:
            # The control plane comes back to its place at the broker after a second, and puts things right.
            if insider:
                insider.replay(recorded)
            refused = _wait_for(centre, host, before, "policy.refused", _INSIST_EVERY_S)
    return refused


def _wait_for(
    centre: Centre, host: Host, after: int, event: str, timeout_s: float = _WAIT_S
) -> Mapping[str, Any] | None:
    found: list[Mapping[str, Any]] = []

    def arrived() -> bool:
        found.extend(record for record in records(centre, host, after=after) if record["event"] == event)
        return bool(found)

    wait_until(arrived, timeout_s, look_every_s=0.1)
    return found[0] if found else None


def _last_number(centre: Centre, host: Host) -> int:
    found = records(centre, host)
    return int(found[-1]["seq"]) if found else 0


def _published(centre: Centre, version: int) -> datetime | None:
    held = centre.people.get("/api/v1/audit/records", source="control-plane", after=0, limit=1000)["records"]
    for record in held:
        if record["event"] == "policy.published" and f"version {version} " in record["what"][0]["name"]:
            return clock.parse(record["time"])
    return None


def _is_in_force(centre: Centre, host: Host, version: int, state: str) -> bool:
    seen = centre.people.host(host.host_id)
    return (seen.get("policy_in_force"), seen.get("state")) == (version, state)


def _yaml(ae_title: str, description: str, pull_every_s: int) -> str:
    return _YAML.format(ae_title=ae_title, description=description, pull_every_s=pull_every_s)
