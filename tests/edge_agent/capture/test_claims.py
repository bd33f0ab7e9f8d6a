"""The same instance: once with the same data set, also at the same moment; twice and named with another one."""

import threading
from pathlib import Path

import pytest

from edge_agent.capture.claims import Claim, Claims, Repeated
from edge_agent.capture.instances import Instance, Instances
from edge_agent.database import Database
from shared.identity import ObjectId

UID, OTHER_UID = b"u" * 32, b"v" * 32
SAME, ANOTHER = b"s" * 32, b"a" * 32


class World:
    def __init__(self, folder: Path) -> None:
        self.database = Database(folder / "agent.sqlite")
        self.instances, self.lost = Instances(self.database), set[ObjectId]()
        self.damaged = set[ObjectId]()
        self.claims = Claims(
            self.instances,
            lambda object_id: object_id not in self.lost,
            lambda object_id: object_id not in self.damaged,
        )

    def claim(self, digest: bytes = SAME, uid_hash: bytes = UID) -> Claim | Repeated:
        return self.claims.claim(uid_hash, digest, ObjectId.new())

    def keep(self, digest: bytes = SAME) -> Claim:
        claim = self.claim(digest)
        assert isinstance(claim, Claim)
        with self.database.transaction() as connection:
            self.instances.add(connection, UID, Instance(claim.object_id, digest, "1.2"))
        self.claims.end(claim)
        return claim


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_same_data_set_again_is_the_object_that_is_here(world: World) -> None:
    first = world.keep()

    assert world.claim() == Repeated(first.object_id)
    assert isinstance(world.claim(uid_hash=OTHER_UID), Claim)


def test_another_data_set_is_kept_and_knows_of_the_first(world: World) -> None:
    first, second = world.keep(), world.claim(ANOTHER)

    assert isinstance(second, Claim)
    assert second.conflicts == (first.object_id,)


def test_what_neither_host_nor_vault_has_any_more_is_kept_anew(world: World) -> None:
    first = world.keep()
    world.lost.add(first.object_id)
    again = world.keep()

    assert again.conflicts == ()
    assert world.claim() == Repeated(again.object_id)


def test_what_is_here_and_is_not_whole_is_kept_anew_and_still_known_to_another_data_set(world: World) -> None:
    first = world.keep()
    world.damaged.add(first.object_id)

    other = world.keep(ANOTHER)
    assert other.conflicts == (first.object_id,)
    again = world.keep()
    assert again.conflicts == (other.object_id,)
    assert world.claim() == Repeated(again.object_id)


def test_the_same_data_set_at_the_same_time_waits_for_the_first(world: World) -> None:
    first = world.claim()
    assert isinstance(first, Claim)
    found: list[Claim | Repeated] = []
    second = threading.Thread(target=lambda: found.append(world.claim()))
    second.start()
    second.join(0.2)
    assert second.is_alive()
    with world.database.transaction() as connection:
        world.instances.add(connection, UID, Instance(first.object_id, SAME, "1.2"))
    world.claims.end(first)
    second.join(60)

    assert found == [Repeated(first.object_id)]


def test_where_the_first_was_given_up_the_second_is_kept(world: World) -> None:
    first = world.claim()
    assert isinstance(first, Claim)
    found: list[Claim | Repeated] = []
    second = threading.Thread(target=lambda: found.append(world.claim()))
    second.start()
    world.claims.end(first)
    second.join(60)

    assert isinstance(found[0], Claim)


def test_another_data_set_at_the_same_time_waits_for_nobody(world: World) -> None:
    first, second = world.claim(), world.claim(ANOTHER)

    assert isinstance(first, Claim)
    assert isinstance(second, Claim)
    assert second.conflicts == (first.object_id,)


def test_a_claim_that_ended_leaves_nothing_behind(world: World) -> None:
    world.keep()
    world.keep(ANOTHER)

    assert world.claims._open == {}
