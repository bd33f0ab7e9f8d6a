"""A roll-out at the terminal: the session that the guide shows, and what is refused there."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import delete
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Host, RolloutRow
from control_plane.enrolment.codes import parts_text
from control_plane.fleet.states import StateIntake
from shared.audit.events import Happening
from shared.clock import SystemClock
from shared.fleet.state import FailedLayer, HostState, LayerState, sign_state
from shared.identity import HostId
from shared.policy.document import ORGANISATION
from shared.signing import SoftwareSigner
from tests.control_plane.cli.conftest import Administrator
from tests.control_plane.policy.file.test_reading import GUIDE

FIRST = """\
layer: organisation
modalities:
  - {ae_title: CT1, description: "CT, room 1.14"}
grading: {default: restricted}
timings: {state_every_s: 5, pull_every_s: 30}
"""
SECOND = FIRST.replace("grading", '  - {ae_title: MR1, description: "MR, room 2.01"}\ngrading')


class NoJournal:
    def append(self, _session: Session, _happening: Happening) -> None: ...


@dataclass
class Reporter:
    """A host that is enrolled, and says which policy it has accepted and acts by."""

    database: sessionmaker[Session]
    asset: str
    number: int = 0
    twin: int = 0
    parts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # By its name and number of its kind, so that its place in a share is always the same.
        self.host = HostId(sha256(f"{self.asset} {self.twin}".encode()).digest()[:16])
        self.signer = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
        row = Host(host_id=str(self.host), asset=self.asset, evidence_spki=self.signer.public.spki,
                   enrolled=SystemClock().now(), state=None, state_number=0, state_received=None,
                   parts=parts_text(self.parts))  # fmt: skip
        with self.database.begin() as session:
            session.add(row)
        self.says(1)

    def says(
        self, in_force: int, *, accepted: int | None = None, failed: int = 0, layers: tuple[LayerState, ...] = ()
    ) -> None:
        self.number += 1
        accepted = in_force if accepted is None else accepted
        state = HostState(self.host, self.number, SystemClock().now(), "test", accepted, in_force, "", True, 0, 0,
                          0, 0, 0, layers=layers,
                          failed=(FailedLayer(ORGANISATION, failed),) if failed else ())  # fmt: skip
        StateIntake(self.database, NoJournal(), SystemClock()).take(self.host, sign_state(state, self.signer))


@pytest.fixture
def hosts(ada: Administrator) -> list[Reporter]:
    ada.publish(FIRST)
    return [Reporter(ada.database, asset) for asset in ("CT 2", "MR 1", "US 3")]


def session() -> list[tuple[str, list[str]]]:
    """Return each command of the guide's session of a roll-out with the lines that it shows."""
    shown = GUIDE.read_text(encoding="utf-8").partition("## Rolling it out")[2]
    shown = shown.partition("```console\n")[2].partition("```")[0]
    steps = (step.splitlines() for step in shown.split("$ leadglass-server policy ")[1:])
    return [(step[0].removesuffix(" --as credential-NAME.json"), step[1:]) for step in steps]


def as_shown(line: str) -> str:
    line = re.sub(r"20..-..-..T..:..:..\.\d{6}Z", "TIME", line).replace("by ada:", "by NAME:")
    return re.sub(r"\S+/policy\.yaml", "policy.yaml", line).strip()


def arguments(command: str, folder: Path) -> list[str]:
    words = re.findall(r'"([^"]*)"|(\S+)', command)
    return [str(folder / "policy.yaml") if plain == "policy.yaml" else quoted or plain for quoted, plain in words]


def test_the_session_of_the_guide_goes_as_it_says(ada: Administrator, hosts: list[Reporter]) -> None:
    ada.file(SECOND)
    canary, others = hosts[0], hosts[1:]

    def canary_takes_it() -> None:
        canary.says(2)
        for host in others:
            host.says(1, accepted=2)

    # What hosts do between two commands of the session, by how the next one begins.
    meanwhile: dict[int, Callable[[], None]] = {4: canary_takes_it}
    for number, (command, lines) in enumerate(session()):
        meanwhile.get(number, lambda: None)()
        person = replace(ada, who=()) if command.startswith("check") else ada
        code, out, errors = person.run(*arguments(command, ada.folder))
        assert errors == ""
        assert [as_shown(line) for line in out.splitlines()] == [as_shown(line) for line in lines]
        assert code == (1 if command.startswith("simulate") else 0)


def test_the_host_that_failed_is_named_and_nobody_widens_over_it(ada: Administrator, hosts: list[Reporter]) -> None:
    code, _, errors = ada.run("publish", ada.file(SECOND), "--canary", "CT 2", "--ring", "50%", "--on-abort", "pause")
    assert (code, errors) == (0, "")
    hosts[0].says(1, accepted=2, failed=2)

    code, out, _ = ada.run("rings")
    assert code == 1
    assert f"CT 2 ({hosts[0].host}) failed" in out
    code, _, errors = ada.run("rollout", "widen")
    assert code == 1
    assert "widen is refused: nobody widens a policy that hosts failed with: CT 2; revert it" in errors or (
        "it is paused; resume it first" in errors  # the centre itself looked first
    )
    code, out, _ = ada.run("rings", "--json")
    assert json.loads(out)[0]["rings"][0]["failed"] == 1


def test_what_cannot_be_a_roll_out_is_refused_before_anything_is_published(
    ada: Administrator, hosts: list[Reporter]
) -> None:
    Reporter(ada.database, "US 3", twin=1)
    for options, why in (
        (("--canary", "CT 9"), "there is not one host 'CT 9': `status` lists those there are"),
        (("--canary", "US 3"), "there is not one host 'US 3': several are called so, name one of host-"),
        (("--ring", "150%"), "expected a share of all hosts such as 10%, or a layer such as site-north"),
        (("--ring", "50%", "--ring", "10%"), "larger than the one before"),
        (("--soak", "30m"), "nobody is first; say --canary HOST or --ring 10%"),
        (("--ring", "site-nowhere"), "name what nobody here has or is: site-nowhere; there are: organisation"),
    ):
        code, _, errors = ada.run("publish", ada.file(SECOND), *options)
        assert code in (1, 2)
        assert why in errors
    assert ada.run("rings")[:2] == (0, "nothing was published in rings, or what was is followed by a newer version\n")


def test_a_roll_out_that_cannot_be_read_is_said_and_taken_back(ada: Administrator, hosts: list[Reporter]) -> None:
    assert ada.run("publish", ada.file(SECOND), "--canary", "CT 2")[0] == 0
    with ada.database.begin() as session:
        session.execute(delete(RolloutRow))

    code, out, _ = ada.run("rings")
    assert code == 1
    assert out.startswith("roll-out of organisation: its row is gone, and nothing opens by itself; hosts stay as they")
    code, out, errors = ada.run("rings", "--json")
    assert (code, json.loads(out)) == (1, [])
    assert "its row is gone" in errors
    code, out, _ = ada.run("rollout", "revert", "--because", "somebody changed the database")
    assert code == 0
    assert "it is taken back, and every host has the one before" in out


def test_a_draft_that_was_proposed_for_rings_is_published_in_them(ada: Administrator, hosts: list[Reporter]) -> None:
    draft = ada.folder / "policy.draft"
    code, out, _ = ada.run("propose", ada.file(SECOND), "--rings", "--out", draft)
    assert code == 0
    assert "it may be rolled out in rings, and be taken back to what hosts have now, version 1" in out
    code, _, errors = ada.run("publish", draft)
    assert code == 1
    assert "is signed to be rolled out; say in which rings" in errors

    code, out, _ = ada.run("publish", draft, "--canary", str(hosts[1].host))
    assert (code, out.splitlines()[0][:47]) == (0, "policy 2 is published to the first of 2 rings; ")


# ---- a site's policy

NORTH = """\
layer: site-north
modalities: [{ae_title: CT7, description: "CT, north"}]
timings: {state_every_s: 600}
"""


@pytest.fixture
def site(ada: Administrator, hosts: list[Reporter]) -> Reporter:
    """Return the host of the site, where a first policy of its own is published."""
    assert ada.run("layer", "add", "site-north", "modality-ct", "site-south")[0] == 0
    ada.publish(NORTH)
    return Reporter(ada.database, "N 1", parts=("site-north",))


def test_a_site_s_policy_is_published_in_rings_shown_and_taken_back_by_its_layer(
    ada: Administrator, site: Reporter
) -> None:
    code, out, errors = ada.run("publish", ada.file(NORTH.replace("CT7", "CT8")), "--canary", "N 1")
    assert (code, errors) == (0, "")
    assert (
        "policy 2 of layer site-north is published to the first of 2 rings; `leadglass-server policy rings "
        "--layer site-north` shows how it does there"
    ) in out
    site.says(1, layers=(LayerState("site-north", 2, 2),))
    code, out, _ = ada.run("rings", "--layer", "site-north")
    assert (code, out.splitlines()[0].partition(", since")[0]) == (0, "policy 2 of site-north: running, ring 1 of 2")
    assert "    ring 1  N 1: 1 host: 1 healthy" in out
    assert "    ring 2  everybody of site-north: 0 hosts, not open" in out
    assert ada.run("rings", "--layer", "organisation")[1].startswith("nothing was published in rings")

    assert ada.run("rollout", "revert")[0] == 1  # that is the organisation's
    code, out, _ = ada.run("rollout", "revert", "--layer", "site-north", "--because", "no printing")
    assert (code, out.splitlines()[0].partition(",")[0]) == (0, "policy 2 of site-north: reverted")


def test_a_canary_that_the_layer_never_reaches_is_refused(ada: Administrator, site: Reporter) -> None:
    code, _, errors = ada.run("publish", ada.file(NORTH), "--canary", "N 1", "--canary", "CT 2")

    assert (code, "CT 2 was not enrolled with layer site-north" in errors) == (1, True)
    assert ada.run("rings")[1].startswith("nothing was published in rings")


def quiet_s(ada: Administrator, text: str, canary: str) -> int:
    """Return how long a host may say nothing new in a roll-out that nobody told for how long, and take it back."""
    assert ada.run("publish", ada.file(text), "--canary", canary)[0] == 0
    layer = text.splitlines()[0].removeprefix("layer: ")
    ((told,),) = [json.loads(ada.run("rings", "--json", "--layer", layer)[1])]
    assert ada.run("rollout", "revert", "--layer", layer)[0] == 0
    return int(told["quiet_s"])


def test_hosts_have_as_long_as_the_slowest_policy_of_theirs_lets_them(ada: Administrator, site: Reporter) -> None:
    pulls_s, slow_s = 2 * 30, 3 * 600
    assert quiet_s(ada, NORTH.replace("CT7", "CT8"), "N 1") == pulls_s + slow_s
    assert quiet_s(ada, SECOND, "CT 2") == pulls_s + slow_s  # a host of the site has it as well

    # Faster than before is what some have, and the one before is what the others have.
    assert quiet_s(ada, NORTH.replace("600", "700"), "N 1") == pulls_s + 3 * 700
    assert quiet_s(ada, NORTH.replace("600", "5"), "N 1") == pulls_s + slow_s
    # Control: another site's hosts have nothing of it.
    south = NORTH.replace("site-north", "site-south").replace("CT7", "CT6").replace("600", "5")
    ada.publish(south)
    Reporter(ada.database, "S 1", parts=("site-south",))
    assert quiet_s(ada, south.replace("CT6", "CT5"), "S 1") == pulls_s + 3 * 5
