"""Rolling a policy out in rings, each figure beside the same without rings, or with one layer.

At the centre it is the processor time for looking every few seconds at what hosts reported, while half of them are in
an open ring, beside what taking these reports costs anyway. Then what hosts fetch, in bytes, by fleet, rings and sites;
and what verifying costs a host of three layers, in its agent and in the child that verifies for its guard.
"""

import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import insert, update

from benchmarks.measure import cpu
from control_plane.db.models import Host as HostRow
from control_plane.enrolment.codes import parts_text
from control_plane.fleet.reports import VerifiedReports
from control_plane.fleet.states import StateIntake
from control_plane.policy.authoring import author
from control_plane.policy.exchange import Publication
from control_plane.policy.file.authored import Authored, AuthoredPart, AuthoredPolicy
from control_plane.rollout.plan import OnAbort, Plan
from control_plane.rollout.service import Rollouts
from edge_agent.usb_policy.exchange import VerifiedPolicy, parse_line
from edge_agent.usb_policy.verifier import child_command
from shared.devices.verdict import Access, Cause, Target
from shared.fleet.devices import Authorized, DeviceState, GuardReport, Seen
from shared.fleet.state import HostState, sign_state
from shared.identity import HostId
from shared.policy.document import ORGANISATION, Modality
from shared.policy.part import PartContent
from shared.policy.rollout import EVERYBODY, Rings
from shared.signing import SoftwareSigner
from tests.control_plane.policy.centre import PERSON, POLICY, Centre, new_centre
from tests.control_plane.policy.layers import add_layers
from tests.control_plane.policy.people import ada
from tests.control_plane.rollout.bench import journal_of, rollouts_of
from tests.edge_agent.policy_sync.layered import LAYERS, LayeredBench
from tests.edge_agent.usb_policy.layered import CT, NORTH, LayeredGuard, LayeredSigners, organisation, part, rules
from tests.fakes.signers import document

HOSTS, REPORT_EVERY_S, STEP_EVERY_S = 1000, 30, 5
TURNS = REPORT_EVERY_S // STEP_EVERY_S
SINCE = datetime(2026, 1, 31, 8, tzinfo=UTC)
DEVICES = 10  # that a host's guard reports
FLEETS, SITES = (100, 1000, 10_000), 50
POLICY_BYTES = 8 << 10
CANARIES = 5


@dataclass(frozen=True)
class Watched:
    """Processor time in percent of one core, and one page of status in ms."""

    hosts: int
    report_bytes: int
    reports_percent: tuple[float, ...]
    idle_percent: tuple[float, ...]  # the look when nothing is rolled out
    steps_percent: tuple[float, ...]
    status_ms: float


@dataclass(frozen=True)
class Fetched:
    """Bytes of one publication. `metadata` is the layer's, of which `layer` is the whole bundle."""

    what: str
    head: int
    metadata: int
    layer: int


@dataclass(frozen=True)
class Verified:
    """Processor time in ms of one publication on hosts of one layer and of three."""

    by: str
    one_ms: tuple[float, ...]
    three_ms: tuple[float, ...]

    @property
    def ratio(self) -> float:
        return median(self.three_ms) / median(self.one_ms)


@dataclass(frozen=True)
class RollingOut:
    watched: Watched
    fetched: tuple[Fetched, ...]
    verified: tuple[Verified, ...]

    def markdown(self) -> str:
        watched = self.watched
        reports, steps = median(watched.reports_percent), median(watched.steps_percent)
        idle, most_idle = median(watched.idle_percent), max(watched.idle_percent)
        said = f"{watched.hosts:,} hosts, a report of {watched.report_bytes:,} bytes each in {REPORT_EVERY_S} s,"
        of_status = f"Its status takes {watched.status_ms:.0f} ms."
        lines = [
            said + f" and a look every {STEP_EVERY_S} s. {cpu()}.",
            "",
            "| | % of a core, median | most |",
            "| --- | --- | --- |",
            f"| taking the reports | {reports:.1f} | {max(watched.reports_percent):.1f} |",
            f"| looking, nothing is rolled out | {idle:.2f} | {most_idle:.2f} |",
            f"| **looking, half of the hosts in an open ring** | {steps:.2f} | {max(watched.steps_percent):.2f} |",
            "",
            f"Both together are {(reports + steps) / reports:.2f} times what it is without a roll-out. {of_status}",
            "",
            "| a change | head | metadata of its layer | the layer's bundle |",
            "| --- | --- | --- | --- |",
            *(f"| {each.what} | {each.head:,} | {each.metadata:,} | {each.layer:,} |" for each in self.fetched),
            "",
            "| a host verifies | one layer, ms of CPU | three | ratio |",
            "| --- | --- | --- | --- |",
            *(
                f"| {each.by} | {median(each.one_ms):.1f} | {median(each.three_ms):.1f} | {each.ratio:.2f} |"
                for each in self.verified
            ),
        ]
        return "\n".join(lines) + "\n"

    def json(self) -> dict[str, object]:
        return {
            "machine": cpu(),
            "watched": self.watched.__dict__,
            "fetched": [each.__dict__ for each in self.fetched],
            "verified": [{"ratio": each.ratio, **each.__dict__} for each in self.verified],
        }


def run(*, rounds: int, images: int, folder: Path | None, hosts: int = HOSTS) -> Iterator[RollingOut]:  # noqa: ARG001  no images here
    with tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=folder) as work:
        made = [Path(work) / name for name in ("watched", "fetched", "agent", "guard")]
        for each in made:
            each.mkdir()
        watched, fetched, agent, guard = made
        yield RollingOut(
            _Reporting(watched, hosts).watched(rounds),
            (*_of_fleets(fetched), *_of_sites(fetched)),
            (_agent_verifies(agent, rounds), _guard_verifies(guard, rounds)),
        )


class _Reporting:
    """A centre and its hosts, each of which reports once in a cycle, a share of them before each look."""

    def __init__(self, folder: Path, hosts: int) -> None:
        self._centre, self._number = new_centre(folder), 0
        self._signer = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
        self._hosts = _enrol(self._centre, hosts, self._signer.public.spki)
        database, clock = self._centre.database, self._centre.clock
        journal, reports = journal_of(self._centre), VerifiedReports()
        self._rollouts = Rollouts(database, self._centre.publisher, journal, clock, reports)
        self._intake = StateIntake(database, journal, clock, reports)

    def watched(self, rounds: int) -> Watched:
        self._rollouts.publish(_signed(self._centre, POLICY), None, PERSON)
        self._cycle(1)
        before = [self._cycle(1) for _ in range(rounds)]
        half = Rings(percent=50)
        self._rollouts.publish(_signed(self._centre, _sized(1), rings=True), _plan(half), PERSON)
        self._cycle(2, half)
        during = [self._cycle(2, half) for _ in range(rounds)]
        status_ms = self._status_ms()
        return Watched(
            len(self._hosts),
            len(self._report(self._hosts[0], 2, half)),
            tuple(taking for taking, _ in before + during),
            tuple(looking for _, looking in before),
            tuple(looking for _, looking in during),
            status_ms,
        )

    def _cycle(self, version: int, rings: Rings | None = None) -> tuple[float, float]:
        """Return processor time for one report of each host, and for the looks meanwhile, in percent of that time."""
        taking = looking = 0.0
        self._number += 1
        for turn in range(TURNS):
            self._centre.clock.pass_time(timedelta(seconds=STEP_EVERY_S))
            signed = [(each, self._report(each, version, rings)) for each in self._hosts[turn::TURNS]]
            began = time.process_time()
            for each, report in signed:
                self._intake.take(each, report)
            taken = time.process_time()
            self._rollouts.step()
            taking, looking = taking + taken - began, looking + time.process_time() - taken
        return 100 * taking / REPORT_EVERY_S, 100 * looking / REPORT_EVERY_S

    def _report(self, host: HostId, version: int, rings: Rings | None) -> bytes:
        """Return what a host says that has accepted `version`, and acts by it or by the one before."""
        layers = (ORGANISATION,)
        is_reached = rings is None or rings.holds(host, layers, layer=ORGANISATION, version=version)
        acts_by, now = version if is_reached else version - 1, self._centre.clock.now()
        guard = GuardReport(
            "leadglass-guard", acts_by, "", True, "boot", False, 0, 9, tuple(map(_device, range(DEVICES)))
        )
        state = HostState(
            host, self._number, now, "leadglass", version, acts_by, "", True, 0, 9, 9, 0, 0, guard=guard, run="0" * 32
        )
        return sign_state(state, self._signer)

    def _status_ms(self) -> float:
        began = time.process_time()
        (rollout,), _ = self._rollouts.told()
        took_ms = 1000 * (time.process_time() - began)
        if (rollout["state"], rollout["ring"]) != ("running", 1):
            raise RuntimeError(f"the roll-out did not stay where it was: {rollout['state']}, {rollout['waits_for']}")
        return took_ms


def _device(number: int) -> DeviceState:
    return DeviceState(
        f"1-1.{number}", "1-1", "0781:5581", "Ultra", f"4C53{number}", "0b" * 32, "08:06:50", Seen.BEFORE,
        SINCE, Target.ALLOW, Target.ALLOW, Cause.RULE, 2, "", Access.READ_WRITE, Authorized.YES,
    )  # fmt: skip


def _enrol(centre: Centre, hosts: int, spki: bytes = b"") -> list[HostId]:
    ids, now = [HostId.new() for _ in range(hosts)], centre.clock.now()
    rows = [
        {"host_id": str(each), "asset": f"host {number}", "enrolled": now, "evidence_spki": spki,
         "state_number": 0}
        for number, each in enumerate(ids)
    ]  # fmt: skip
    with centre.database.begin() as session:
        session.execute(insert(HostRow), rows)
    return ids


def _signed(centre: Centre, authored: Authored, *, rings: bool = False) -> Publication:
    return author(authored, centre.publisher.parts(), centre.credential, centre.clock, rings=rings)


def _plan(first: Rings) -> Plan:
    return Plan((first, Rings(percent=EVERYBODY)), 1800, 90, 5, OnAbort.REVERT, 120)


def _modalities(number: int, name: str) -> tuple[Modality, ...]:
    return tuple(Modality(f"{name}{at}", f"version {number}, " + "x" * 80) for at in range(POLICY_BYTES // 150))


def _sized(number: int) -> AuthoredPolicy:
    return replace(POLICY, modalities=_modalities(number, "CT"))


def _of_fleets(folder: Path) -> Iterator[Fetched]:
    """Yield what a change for everybody is, by the number of hosts."""
    for hosts in FLEETS:
        (folder / f"of {hosts}").mkdir()
        centre = new_centre(folder / f"of {hosts}")
        canaries = Rings(tuple(_enrol(centre, hosts)[:CANARIES]), (), 10)
        yield from _fetched(centre, f"for everybody, {hosts:,} hosts", [_sized(1), _sized(2), _sized(3)], canaries)


def _of_sites(folder: Path) -> Iterator[Fetched]:
    """Yield what a change for one site of many is."""
    (folder / "of sites").mkdir()
    centre, sites = new_centre(folder / "of sites"), [f"site-{number}" for number in range(SITES)]
    _enrol(centre, FLEETS[0])
    centre.publish(_sized(1))
    add_layers(centre, sites, ada(centre))
    for site in sites[1:]:
        centre.publish(_site(site, 1))
    with centre.database.begin() as session:
        session.execute(update(HostRow).values(parts=parts_text(sites[:1])))
    yield from _fetched(
        centre, f"for one site of {SITES}", [_site(sites[0], number) for number in (1, 2, 3)], Rings(percent=50)
    )


def _site(layer: str, number: int) -> AuthoredPart:
    return AuthoredPart(layer, PartContent(_modalities(number, "MR")))


def _fetched(centre: Centre, what: str, versions: Sequence[Authored], first: Rings) -> Iterator[Fetched]:
    """Yield the second version of a layer, for everybody, and the third, in rings."""
    rollouts = rollouts_of(centre)
    for authored, plan in zip(versions, (None, None, _plan(first)), strict=True):
        rollouts.publish(_signed(centre, authored, rings=plan is not None), plan, PERSON)
        head, layer = centre.publisher.head(), centre.publisher.layer(authored.layer)
        assert head is not None
        assert layer is not None
        if authored is not versions[0]:
            named = what + ", in rings" * (plan is not None)
            yield Fetched(named, len(head.encode()), len(layer.metadata), len(layer.encode()))


def _agent_verifies(folder: Path, rounds: int) -> Verified:
    one, three = (
        LayeredBench(folder / name, layers=layers) for name, layers in (("one", LAYERS[:1]), ("three", LAYERS))
    )
    for bench in (one, three):
        bench.begin()
    times = [(_offered_ms(one, version), _offered_ms(three, version)) for version in range(2, rounds + 2)]
    return Verified("agent", tuple(ms for ms, _ in times), tuple(ms for _, ms in times))


def _offered_ms(bench: LayeredBench, version: int) -> float:
    """Return how long the agent takes for a change of the organisation's policy."""
    keys, receipts = bench.host.keys, bench.host.receipts.public
    policy = replace(document(version, keys, receipts), modalities=_modalities(version, "CT"))
    bench.publisher.sign(ORGANISATION, version, policy.encode())
    layer, head = bench.publisher.bundles[ORGANISATION].encode(), bench.publisher.head()
    began = time.process_time()
    bench.updater.offer_layer(layer)
    bench.updater.offer_head(head)
    took_ms = 1000 * (time.process_time() - began)
    if bench.acts_by()[ORGANISATION] != version:
        raise RuntimeError(bench.updater.error)
    return took_ms


def _guard_verifies(folder: Path, rounds: int) -> Verified:
    signers = LayeredSigners()
    for layer in (CT, NORTH):
        signers.sign(part(layer, 1, rules("allow id 0781:5583")))
    one, three = LayeredGuard(folder / "one", signers), LayeredGuard(folder / "three", signers, CT, NORTH)
    times = [(_child_ms(one, version), _child_ms(three, version)) for version in range(1, rounds + 2)]
    return Verified("guard's child", tuple(ms for ms, _ in times[1:]), tuple(ms for _, ms in times[1:]))


def _child_ms(guard: LayeredGuard, version: int) -> float:
    """Return how long a child takes, its start included, for a change of the organisation's policy."""
    modalities = _modalities(version, "CT")
    guard.signers.sign(replace(organisation(version, rules("allow id 0781:5581")), modalities=modalities))
    offer = guard.signers.offer(*guard.trust.layers).encode()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run(child_command(guard.state), input=offer, capture_output=True, check=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = parse_line(said)
    expected = dict.fromkeys(guard.trust.layers, 1) | {ORGANISATION: version}
    if not isinstance(answer, VerifiedPolicy) or {each.layer: each.version for each in answer.acts_by} != expected:
        raise RuntimeError(f"the child verified something else than {expected}: {answer}")
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
