"""A small real centre that rolls out, and hosts that verify what it publishes with the code of a host and report."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select

from control_plane.audit_log.journal import CentreJournal, Sealing
from control_plane.db.models import AuditRow, Host, RolloutRow
from control_plane.enrolment.codes import parts_text
from control_plane.fleet.states import StateIntake
from control_plane.keys.store import RECEIPTS
from control_plane.policy.authoring import author
from control_plane.policy.exchange import Publication
from control_plane.policy.file.authored import Authored
from control_plane.rollout.plan import OnAbort, Plan
from control_plane.rollout.service import Rollouts
from control_plane.rollout.state import Rollout
from control_plane.tlog.sequencer import Sequencer
from edge_agent.policy_sync.layers import read_layers
from edge_agent.policy_sync.verification import PolicyVerification
from shared.fleet.state import FailedLayer, HostState, LayerState, sign_state
from shared.identity import HostId
from shared.policy.accept import AcceptedPolicy
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION, Modality, PolicyDocument
from shared.policy.rollout import EVERYBODY, Rings
from shared.signing import SoftwareSigner
from tests.control_plane.policy.centre import PERSON, POLICY, Centre, copied_centre

SOAK_S, QUIET_S = 1800, 120
MORE = replace(POLICY, modalities=(*POLICY.modalities, Modality("MR1", "MR, room 2.01")))
EVEN_MORE = replace(MORE, modalities=(*MORE.modalities, Modality("US1", "ultrasound")))


@dataclass
class Machine:
    """A host that takes what the centre publishes, as far as its own verification lets it, and says so.

    It cannot act by the version `breaks_at` of the layer `breaks`, and then acts by none of what came with it.
    """

    host: HostId
    asset: str
    layers: tuple[str, ...]
    signer: SoftwareSigner
    verification: PolicyVerification
    breaks_at: int = 0
    breaks: str = ORGANISATION
    listening: bool = True
    number: int = 0
    held: dict[str, AcceptedPolicy] = field(default_factory=dict)
    acts_by: dict[str, int] = field(default_factory=dict)
    policy: PolicyDocument | None = None

    def take(self, head: HeadBundle, layers: Sequence[LayerBundle]) -> None:
        """Verify, then act by what a host in this place acts by. Raises what a host refuses by."""
        verified = self.verification.verify(head, {layer.layer: layer for layer in layers}, self.held)
        offered = read_layers(verified, self.host)
        self.held = {accepted.layer: accepted for accepted in offered.newest}
        wanted = {acts.layer: acts.version for acts in offered.acts_by}
        if wanted.get(self.breaks) != self.breaks_at:
            self.acts_by, self.policy = wanted, offered.effective.policy

    def state(self, layer: str) -> LayerState:
        held = self.held.get(layer)
        return LayerState(layer, 0 if held is None else held.version, self.acts_by.get(layer, 0))

    @property
    def accepted(self) -> int:
        return self.state(ORGANISATION).accepted

    @property
    def in_force(self) -> int:
        return self.state(ORGANISATION).in_force

    @property
    def failed(self) -> tuple[FailedLayer, ...]:
        broken = self.state(self.breaks)
        is_broken = broken.accepted == self.breaks_at and broken.in_force != broken.accepted
        return (FailedLayer(self.breaks, self.breaks_at),) if is_broken else ()


@dataclass
class Bench:
    centre: Centre
    rollouts: Rollouts
    folder: Path
    machines: list[Machine] = field(default_factory=list)

    def add(self, *assets: str, parts: Sequence[str] = ()) -> list[Machine]:
        added = [self._machine(asset, parts) for asset in assets]
        self.machines += added
        return added

    def _machine(self, asset: str, parts: Sequence[str]) -> Machine:
        host = HostId(sha256(asset.encode()).digest()[:16])  # so that its place in a share is always the same
        signer = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
        with self.centre.database.begin() as session:
            session.add(
                Host(
                    host_id=str(host), asset=asset, enrolled=self.centre.clock.now(),
                    evidence_spki=signer.public.spki, state=None, state_number=0, state_received=None,
                    parts=parts_text(parts),
                )
            )  # fmt: skip
        root = self.centre.publisher.newest_root()
        layers = (ORGANISATION, *parts)
        verification = PolicyVerification(layers=layers, host=host, folder=self.folder / str(host), root=root)
        return Machine(host, asset, layers, signer, verification)

    def sync(self, *machines: Machine) -> None:
        """Have hosts fetch what is published, and report."""
        head, layers, _ = self.centre.publisher.published()
        assert head is not None
        for machine in machines or self.machines:
            machine.take(HeadBundle.parse(head.encode()), [LayerBundle.parse(layer.encode()) for layer in layers])
            self.report(machine)

    def report(self, machine: Machine) -> None:
        machine.number += 1
        state = HostState(
            machine.host, machine.number, self.centre.clock.now(), "test", machine.accepted, machine.in_force,
            "", machine.listening, 0, 0, 0, 0, 0, layers=tuple(map(machine.state, machine.layers[1:])),
            failed=machine.failed,
        )  # fmt: skip
        intake = StateIntake(self.centre.database, self.journal(), self.centre.clock)
        intake.take(machine.host, sign_state(state, machine.signer))

    def publish(self, authored: Authored = MORE, plan: Plan | None = None) -> int:
        return self.rollouts.publish(self.signed(authored), plan or self.plan(), PERSON)

    def signed(self, authored: Authored = MORE, *, rings: bool = True) -> Publication:
        return author(authored, self.centre.publisher.parts(), self.centre.credential, self.centre.clock, rings=rings)

    def plan(self, *canaries: Machine, on_abort: OnAbort = OnAbort.REVERT, percent: int = 0) -> Plan:
        first = Rings(tuple(machine.host for machine in canaries or self.machines[:1]))
        middle = [Rings(percent=percent)] if percent else []
        return Plan((first, *middle, Rings(percent=EVERYBODY)), SOAK_S, 90, 5, on_abort, QUIET_S)

    def later(self, seconds: int = SOAK_S) -> None:
        self.centre.clock.pass_time(timedelta(seconds=seconds))

    def state(self, layer: str = ORGANISATION) -> str:
        """Return the state of a layer's newest roll-out and its open rings, such as `running 1`."""
        rows = select(RolloutRow).where(RolloutRow.layer == layer).order_by(RolloutRow.version.desc())
        with self.centre.database() as session:
            row = session.scalars(rows).first()
            assert row is not None
            rollout = Rollout.of(row)
        return f"{rollout.state.value} {len(rollout.opened)}"

    def in_force(self, layer: str = ORGANISATION) -> list[int]:
        return [machine.state(layer).in_force for machine in self.machines]

    def recorded(self) -> list[tuple[str, str, str]]:
        """Return event, who, and why of every record of a roll-out."""
        with self.centre.database() as session:
            records = [json.loads(row.public) for row in session.scalars(select(AuditRow).order_by(AuditRow.seq))]
        told = [(str(one["event"]), str(one["who"][0]["name"]), str(one["reason"])) for one in records]
        return [one for one in told if "rollout" in one[0]]

    def journal(self) -> CentreJournal:
        return journal_of(self.centre)

    def restarted(self) -> "Bench":
        """Return the same centre in another process, so to say: nothing in memory is kept."""
        centre = self.centre.restarted()
        return replace(self, centre=centre, rollouts=rollouts_of(centre))


def journal_of(centre: Centre) -> CentreJournal:
    return CentreJournal(
        centre.database,
        centre.keys.signer(RECEIPTS),
        Sequencer(centre.keys.log_signer()),
        lambda *_: Sealing(None),
        centre.clock,
    )


def rollouts_of(centre: Centre) -> Rollouts:
    return Rollouts(centre.database, centre.publisher, journal_of(centre), centre.clock)


def new_bench(folder: Path, assets: int = 4, prepare: Callable[[Centre], None] = lambda _centre: None) -> Bench:
    """Return a centre with these many hosts, each of which has version 1 in force and has said so."""
    centre = copied_centre(folder)
    prepare(centre)
    bench = Bench(centre, rollouts_of(centre), folder / "hosts")
    bench.add(*(f"CT {number}" for number in range(1, assets + 1)))
    centre.publish()
    bench.sync()
    bench.later(1)
    return bench
