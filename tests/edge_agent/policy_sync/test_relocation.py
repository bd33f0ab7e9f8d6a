"""A host moves to other layers: verified first, changed by one file, and whole whenever it is cut off."""

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.agent import Runs
from edge_agent.config import AgentFolder, load_config, load_identity
from edge_agent.enrol import store as identity
from edge_agent.enrol.store import IdentityNotStored
from edge_agent.https import HttpsDoor, verified_context
from edge_agent.policy_sync import relocation
from edge_agent.policy_sync.pull import PolicyNotCurrent, PolicyPull
from edge_agent.policy_sync.relocation import LayerMove, LayerNotPublished, OrganisationDiffers
from shared.errors import Refused, Unavailable
from shared.policy.document import ORGANISATION
from shared.policy.rollout import Rings
from tests.edge_agent.policy_sync.layered import ELSEWHERE, LAYERS, SITE, TYPE, Lacking, LayeredBench, Publisher
from tests.edge_agent.policy_sync.test_pull import serve
from tests.fakes.centre import Centre

_THERE = (ELSEWHERE, TYPE)


class Moving:
    """A host at one site, and a centre that has published a policy of another one too."""

    def __init__(self, folder: Path, centre: Centre, enrolled: AgentFolder) -> None:
        self.bench, self.centre = LayeredBench(folder), centre
        self.bench.begin()
        self.bench.sign(ELSEWHERE, 1)
        self.folder = AgentFolder(folder)
        self.folder.identity.mkdir()
        doors = load_identity(enrolled).config.doors
        config = dataclasses.replace(
            load_config(enrolled), host_id=self.bench.host.host_id, policy_root=self.bench.publisher.root,
            parts=(TYPE, SITE),
        )  # fmt: skip
        self.folder.config.write_bytes(config.encode())
        self.before = config
        self.door = HttpsDoor(doors.host, doors.https_port, verified_context(enrolled.ca, enrolled.tls), timeout_s=30)
        self.serve()

    def serve(self) -> None:
        serve(self.centre, self.bench)

    def to(self, *parts: str) -> bool:
        bench = self.bench
        return LayerMove(
            self.folder,
            self.door,
            updater=bench.updater,
            store=bench.host.store,
            database=bench.host.database,
            self_check=bench.check,
            refresh=PolicyPull(self.door, bench.host.layers, bench.updater).refresh,
            undisturbed=threading.Lock(),
        ).to(parts)

    def restart(self) -> dict[str, int]:
        """Start by what is on the disk, without the centre; return which versions are in force then."""
        self.bench.host.layers = load_config(self.folder).layers
        self.bench.restart()
        return self.bench.acts_by()

    def pull(self) -> None:
        PolicyPull(self.door, self.bench.host.layers, self.bench.updater).refresh()


@pytest.fixture
def moving(tmp_path: Path, centre: Centre, enrolled: AgentFolder) -> Iterator[Moving]:
    moving = Moving(tmp_path / "moving", centre, enrolled)
    yield moving
    moving.door.close()


def stays(moving: Moving) -> None:
    assert load_config(moving.folder) == moving.before
    assert moving.restart() == dict.fromkeys(LAYERS, 1)
    assert not moving.folder.trust.with_name("policy-of-a-move").exists()


def test_a_host_that_moved_goes_by_its_new_layers_from_its_next_start_on(moving: Moving) -> None:
    assert moving.to(*_THERE)

    config = load_config(moving.folder)
    assert config == dataclasses.replace(moving.before, parts=_THERE)
    assert moving.restart() == dict.fromkeys((ORGANISATION, *_THERE), 1)
    assert moving.bench.ae_titles() == ["ORGANISATI 1", "MODALITY-C 1", "SITE-SOUTH 1"]
    moving.bench.sign(ELSEWHERE, 2)
    moving.serve()
    moving.pull()
    assert moving.bench.acts_by() == {ORGANISATION: 1, ELSEWHERE: 2, TYPE: 1}


def test_a_host_that_has_the_layers_already_changes_nothing(moving: Moving) -> None:
    assert not moving.to(SITE, TYPE)
    stays(moving)


def test_a_host_can_be_left_with_the_organisation_s_policy_alone(moving: Moving) -> None:
    assert moving.to()
    assert moving.restart() == {ORGANISATION: 1}


# ---- what cannot be verified


def test_a_layer_of_which_nothing_is_published_moves_nobody(moving: Moving) -> None:
    del moving.centre.parts[ELSEWHERE]

    with pytest.raises(LayerNotPublished):
        moving.to(*_THERE)
    stays(moving)


def test_a_layer_that_the_head_does_not_name_moves_nobody(moving: Moving) -> None:
    moving.centre.head = moving.bench.publisher.head(without=ELSEWHERE)

    with pytest.raises(LayerNotPublished):
        moving.to(*_THERE)
    stays(moving)


def forge(moving: Moving) -> None:
    """Have the centre serve a policy of the other site that strangers signed."""
    strangers = Publisher()
    bundle = strangers.sign_layer(ELSEWHERE, 1, moving.bench.policy(ELSEWHERE, 1, "LAX"))
    moving.bench.publisher.bundles[ELSEWHERE] = bundle
    moving.serve()


def test_a_layer_that_others_signed_moves_nobody(moving: Moving) -> None:
    forge(moving)

    with pytest.raises((Refused, Unavailable)):
        moving.to(*_THERE)
    stays(moving)


def test_a_layer_that_this_host_cannot_act_by_moves_nobody(moving: Moving) -> None:
    moving.bench.sign(ELSEWHERE, 2, ae_title="BAD 2")
    moving.serve()

    with pytest.raises(Lacking):
        moving.to(*_THERE)
    stays(moving)


def test_an_older_version_of_a_layer_that_it_had_once_moves_nobody(moving: Moving) -> None:
    older = moving.bench.publisher.bundles[ELSEWHERE]
    moving.bench.sign(ELSEWHERE, 2)
    moving.serve()
    moving.to(*_THERE)
    moving.restart()
    moving.pull()
    moving.to(TYPE, SITE)
    moving.restart()
    moving.bench.publisher.bundles[ELSEWHERE] = older
    moving.serve()

    with pytest.raises((Refused, PolicyNotCurrent)):
        moving.to(*_THERE)
    assert moving.restart() == dict.fromkeys(LAYERS, 1)


def test_a_roll_out_that_would_reach_it_there_alone_is_ended_first(moving: Moving) -> None:
    moving.bench.sign(ORGANISATION, 2, rings=Rings(layers=(ELSEWHERE,)))
    moving.serve()

    with pytest.raises(OrganisationDiffers):
        moving.to(*_THERE)
    stays(moving)
    # The control: a roll-out that reaches it in neither place keeps it from nothing.
    moving.bench.publisher.roll_out(ORGANISATION, Rings())
    moving.serve()
    assert moving.to(*_THERE)


# ---- cut off


def cut_off(moving: Moving, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> None:
    """Cut the host off just before or just after the file is exchanged."""

    def exchange(file: Path, content: bytes) -> None:
        if after:
            identity.replace(file, content)
        raise IdentityNotStored(file, "cut off")

    monkeypatch.setattr(relocation, "replace", exchange)
    with pytest.raises(IdentityNotStored):
        moving.to(*_THERE)


@pytest.mark.parametrize("after, layers", [(False, LAYERS), (True, (ORGANISATION, *_THERE))])
def test_a_host_that_was_cut_off_has_the_old_layers_or_the_new_ones_and_all_of_them(
    moving: Moving, monkeypatch: pytest.MonkeyPatch, after: bool, layers: tuple[str, ...]
) -> None:
    cut_off(moving, monkeypatch, after=after)

    assert moving.restart() == dict.fromkeys(layers, 1)
    moving.pull()
    assert moving.restart() == dict.fromkeys(layers, 1)


def test_a_host_that_keeps_nothing_first_is_left_with_the_organisation_s_policy_and_one_layer(
    moving: Moving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the one above."""
    monkeypatch.setattr(LayerMove, "_keep", lambda _move, _offered, _choice: None)
    cut_off(moving, monkeypatch, after=True)

    assert moving.restart() == {ORGANISATION: 1, TYPE: 1}


@pytest.mark.parametrize("is_held_still", [True, False])
def test_nothing_is_taken_for_the_old_layers_once_it_has_moved(
    moving: Moving, monkeypatch: pytest.MonkeyPatch, is_held_still: bool
) -> None:
    if not is_held_still:  # the control
        monkeypatch.setattr(type(moving.bench.updater), "_end", lambda _updater: None)
    moving.to(*_THERE)
    moving.bench.sign(SITE, 2)
    moving.bench.pull()

    assert (moving.restart() == dict.fromkeys((ORGANISATION, *_THERE), 1)) is is_held_still


# ---- the run after


def test_a_run_that_ended_by_itself_is_followed_by_another_until_all_are_ended() -> None:
    runs = Runs()
    first = runs.begin()
    assert first is not None
    first.set()
    second = runs.begin()
    assert second is not None
    assert not second.is_set()
    runs.end()

    assert second.is_set()
    assert runs.begin() is None
