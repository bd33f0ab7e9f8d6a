"""The demo attacks its own store, one attack at a time; each must be refused for its own reason and is then undone."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from provisioning.demo.attacks import Store
from provisioning.demo.expectations import Expectation
from provisioning.demo.images import Image
from provisioning.demo.processes import wait_until
from provisioning.demo.stage import Centre, Stage
from provisioning.demo.steps.audit import verify
from provisioning.demo.steps.enrolment import Host
from provisioning.demo.steps.policies import records
from shared.policy.document import ORGANISATION
from shared.sealing.chunked import HEADER_BYTES, SEALED_CHUNK_BYTES

_REASON = "demonstration of an attack"
_ALTERED_REASON = "nothing happened here"
_WAIT_S = 30.0
_OK = 200


@dataclass(frozen=True)
class Attack:
    """An attack on objects. `refused_as` is the one error that names it; any other answer fails the demo."""

    name: str
    says: str
    change: Callable[[Store, str, str], AbstractContextManager[None]]
    refused_as: str


ATTACKS = (
    Attack("bit-flipped", "a body with one bit flipped", lambda s, a, _: s.flipped_bit(a), "ChunkNotAuthentic"),
    Attack("bodies-swapped", "two bodies swapped", lambda s, a, b: s.swapped_bodies(a, b), "CommitmentMismatch"),
    Attack("wraps-swapped", "two wraps swapped", lambda s, a, b: s.swapped_wraps(a, b), "BoxNotAuthentic"),
    Attack("tail-cut", "a tail cut off at a chunk's end", lambda s, a, _: s.cut_at_a_chunks_end(a), "Truncated"),
    Attack("replaced", "another real object in an object's place", lambda s, a, b: s.replaced(a, b), "ObjectAltered"),
    Attack("forged", "a self-consistent forgery, signed by another key", lambda s, a, _: s.forged(a), "WrongSigner"),
    Attack("forged-as-host", "the same, naming the host's key",
           lambda s, a, _: s.forged(a, claims_host_key=True), "SignatureInvalid"),
    Attack("forged-with-host-row", "the same, with the host's key replaced in the database",
           lambda s, a, _: s.forged(a, host_key_too=True), "WrongSigner"),
)  # fmt: skip

EXPECTED = (
    *(Expectation(f"attack-{attack.name}", f"{attack.says}: refused as {attack.refused_as}") for attack in ATTACKS),
    Expectation("attack-record-edited", "an edited audit record: the chain is altered there, and so says the verifier"),
    Expectation("attack-capture-record-edited", "an object whose capture record was edited: refused as AuditAltered"),
    Expectation(
        "attack-policy-rolled-back", "an older policy, served by the control plane itself: refused by the host"
    ),
    Expectation("attacks-undone", "with everything put back, objects open and the log verifies again"),
)


def attack(stage: Stage, centre: Centre, host: Host, held: Mapping[str, Image]) -> None:
    store = Store(stage.folders.control_plane)
    # Two objects of several chunks, so that a cut at a chunk's end leaves some.
    several = [o for o in sorted(held) if store.body_bytes(o) > HEADER_BYTES + 2 * SEALED_CHUNK_BYTES]
    victim, other = several[:2]
    for one in ATTACKS:
        with stage.display.doing(one.says), one.change(store, victim, other):
            answer = centre.people.open_object(victim, _REASON)
        said = answer.detail if answer.refusal == one.refused_as else f"{answer.refusal}: {answer.detail}"
        evidence = said if answer.refusal else f"HTTP {answer.status}, not refused"
        stage.judge(f"attack-{one.name}", answer.refusal == one.refused_as, evidence)
    _edit_records(stage, centre, host, store, victim)
    _roll_policy_back(stage, centre, host, store)
    with stage.display.doing("looking whether everything is as before"):
        again = [centre.people.open_object(object_id, _REASON).status for object_id in (victim, other)]
        verdicts = verify(stage, centre)
    verified = {verdict["state"] for verdict in verdicts.values()} == {"verified"}
    stage.judge(
        "attacks-undone",
        again == [_OK, _OK] and verified,
        f"HTTP {again[0]} and {again[1]}; the log is {'verified' if verified else 'altered'}",
    )


def _edit_records(stage: Stage, centre: Centre, host: Host, store: Store, victim: str) -> None:
    held = records(centre, host)
    refusal = next(record for record in held if record["event"] == "capture.association-refused")
    with (
        stage.display.doing("an edited audit record"),
        store.edited_record(host.host_id, refusal["seq"], _ALTERED_REASON),
    ):
        verdict = verify(stage, centre)[host.host_id]
    found = (
        verdict["state"] == "altered" and verdict["first_bad"] is not None and verdict["first_bad"] <= refusal["seq"]
    )
    stage.judge(
        "attack-record-edited",
        found,
        f"record {refusal['seq']} was edited; first bad {verdict['first_bad']}: {verdict['why']}",
    )
    captured = next(
        record
        for record in held
        if record["event"] == "capture.image-captured" and any(what["name"] == victim for what in record["what"])
    )
    with (
        stage.display.doing("an edited capture record"),
        store.edited_record(host.host_id, captured["seq"], _ALTERED_REASON),
    ):
        answer = centre.people.open_object(victim, _REASON)
    stage.judge("attack-capture-record-edited", answer.refusal == "AuditAltered", answer.detail)


def _roll_policy_back(stage: Stage, centre: Centre, host: Host, store: Store) -> None:
    # The host has recorded a refusal of these very bytes before, and says so again in its signed state report.
    def refusal() -> str:
        return str(centre.people.host(host.host_id)["policy_error"])

    with (
        stage.display.doing("an older policy in the control plane's own database"),
        store.policy_rolled_back(ORGANISATION),
    ):
        served = centre.people.status()["policy"]["version"]
        wait_until(lambda: bool(refusal()), _WAIT_S)
        refused = refusal()
    in_force = centre.people.host(host.host_id)["policy_in_force"]
    held = served == 1 and in_force == 2 and "PolicyRollback" in refused
    stage.judge(
        "attack-policy-rolled-back",
        held,
        f"the centre served {served}, the host kept {in_force}: {refused or 'no refusal'}",
    )
