"""What is in force is read from the disk at each start, also from the tables of an agent that knew one layer."""

import shutil
import sqlite3
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from edge_agent.beside import opened
from edge_agent.config import AgentFolder
from edge_agent.database import Database, ReadingDatabase
from edge_agent.moving.commands import export_spool
from edge_agent.policy_sync.store import StoredPolicy, read_held, read_in_force
from shared.identity import HostId
from shared.policy.document import ORGANISATION
from tests.edge_agent.policy_sync.layered import LAYERS, NOBODY, SITE, LayeredBench, Publisher
from tests.fakes.clock import FakeClock
from tests.fakes.host import Host
from tests.fakes.log import MemoryLog
from tests.fakes.signers import document

FORMER = """
CREATE TABLE IF NOT EXISTS accepted_policy (
    layer TEXT NOT NULL, version INTEGER NOT NULL, sha256 BLOB NOT NULL, document BLOB NOT NULL, accepted TEXT NOT NULL,
    PRIMARY KEY (layer, version)
) STRICT;
CREATE TRIGGER IF NOT EXISTS accepted_policy_stays BEFORE DELETE ON accepted_policy
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TABLE IF NOT EXISTS failed_policy (
    layer TEXT NOT NULL, version INTEGER NOT NULL, why TEXT NOT NULL, begun INTEGER NOT NULL,
    PRIMARY KEY (layer, version)
) STRICT;
"""
WHY = "Lacking: the disk has no room for it"


class Former:
    """The database of an agent that knew one layer and no sets."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "host"
        self._signed_by = Host(tmp_path / "other")

    def write(self, versions: range, failed: Mapping[int, int]) -> None:
        """Leave these accepted versions, of which some failed and were begun so many times and not ended."""
        self.folder.mkdir(exist_ok=True)
        connection = sqlite3.connect(self.folder / "agent.sqlite")
        connection.executescript(FORMER)
        for version in versions:
            data = document(version, self._signed_by.keys, self._signed_by.receipts.public).encode()
            row = (ORGANISATION, version, sha256(data).digest(), data, "2026-01-01T00:00:00Z")
            connection.execute("INSERT INTO accepted_policy VALUES (?, ?, ?, ?, ?)", row)
        for version, begun in failed.items():
            connection.execute("INSERT INTO failed_policy VALUES (?, ?, ?, ?)", (ORGANISATION, version, WHY, begun))
        connection.commit()
        connection.close()


@pytest.fixture
def former(tmp_path: Path) -> Former:
    return Former(tmp_path)


@pytest.mark.parametrize(
    "versions, failed, in_force",
    [
        (range(1, 4), {}, 3),
        (range(1, 4), {2: 0}, 3),
        (range(1, 4), {3: 0}, 2),
        (range(1, 4), {2: 0, 3: 1}, 1),
        (range(1, 2), {1: 0}, 0),
        (range(0), {}, 0),
    ],
)
def test_what_a_former_agent_had_in_force_still_is_at_the_first_start_and_every_later_one(
    former: Former, versions: range, failed: dict[int, int], in_force: int
) -> None:
    former.write(versions, failed)
    host = Host(former.folder)
    for _ in range(2):
        policy, chosen = host.store.in_force(), host.store.chosen()

        assert (policy.version if policy else 0) == host.store.in_force_versions().get(ORGANISATION, 0) == in_force
        if versions:
            assert host.store.held()[ORGANISATION].version == versions[-1]
            assert chosen is not None
            assert (chosen.versions, chosen.why) == (
                {ORGANISATION: versions[-1]},
                WHY if versions[-1] in failed else "",
            )
        host.restart()


def test_whoever_only_reads_sees_the_same_before_an_agent_was_started(former: Former) -> None:
    former.write(range(1, 4), {3: 0})
    reading = ReadingDatabase(former.folder / "agent.sqlite")
    before = read_in_force(reading.read, LAYERS, HostId(bytes(16)))
    Host(former.folder).database.close()

    assert before is not None
    assert before.versions == {ORGANISATION: 2}
    assert before == read_in_force(reading.read, LAYERS, HostId(bytes(16)))
    assert read_held(reading.read, LAYERS) == {ORGANISATION: 3}
    reading.close()


@pytest.mark.parametrize("begun, in_force", [(2, 2), (3, 1)])
def test_what_failed_at_a_former_agent_is_tried_again_and_not_where_it_ended_three_starts(
    former: Former, begun: int, in_force: int
) -> None:
    former.write(range(1, 3), {2: begun})
    bench = LayeredBench(former.folder, layers=(ORGANISATION,))

    said = f"organisation 2 failed its self-check here, organisation 1 goes on: {WHY}"
    assert (bench.acts_by(), bench.updater.error) == ({ORGANISATION: in_force}, said if in_force == 1 else "")


def test_a_host_of_a_former_agent_that_has_parts_goes_on_and_takes_them(former: Former) -> None:
    former.write(range(1, 3), {})
    bench = LayeredBench(former.folder, Publisher())
    before = bench.acts_by()
    bench.sign(ORGANISATION, 3)
    bench.sign(SITE, 1)
    bench.pull()

    assert before == {ORGANISATION: 2}
    assert bench.acts_by() == {ORGANISATION: 3, SITE: 1}


# ---- a former agent that came back in between


@pytest.mark.parametrize(
    "since, failed, in_force",
    [(range(0), {}, 2), (range(3, 4), {}, 3), (range(3, 5), {4: 0}, 3), (range(3, 4), {3: 3}, 2)],
)
def test_after_a_former_agent_came_back_and_went_again_nothing_goes_back_a_version(
    former: Former, since: range, failed: dict[int, int], in_force: int
) -> None:
    former.write(range(1, 3), {})
    Host(former.folder).database.close()
    former.write(since, failed)
    reading = ReadingDatabase(former.folder / "agent.sqlite")
    read = read_in_force(reading.read, (ORGANISATION,), HostId(bytes(16)))
    reading.close()
    host = Host(former.folder)
    for _ in range(2):
        chosen = host.store.chosen()

        assert read is not None
        assert chosen is not None
        assert host.store.in_force_versions() == read.versions == {ORGANISATION: in_force}
        assert (chosen.versions[ORGANISATION], chosen.why) == (since[-1] if since else 2, WHY if failed else "")
        host.restart()


def come_back(bench: LayeredBench) -> None:
    """Leave what a former agent does at its start."""
    with bench.host.database.transaction() as connection:
        connection.execute("CREATE TABLE failed_policy (layer TEXT, version INTEGER, why TEXT, begun INTEGER)")


@pytest.mark.parametrize("ae_title", ["", "BAD"])
def test_what_was_taken_back_or_failed_here_is_not_in_force_because_a_former_agent_came_back(
    tmp_path: Path, ae_title: str
) -> None:
    bench = LayeredBench(tmp_path / "host", layers=(ORGANISATION,))
    bench.begin()
    bench.sign(ORGANISATION, 2, rings=bench.here, ae_title=ae_title)
    bench.pull()
    if not ae_title:
        bench.roll_out(ORGANISATION, NOBODY)
    before = bench.state(), bench.updater.error
    come_back(bench)
    bench.restart()

    assert (bench.state(), bench.updater.error) == before


@pytest.mark.parametrize("came_back", [False, True])
def test_what_a_host_waits_for_is_not_taken_for_a_former_agent_s_at_a_start(tmp_path: Path, came_back: bool) -> None:
    bench = LayeredBench(tmp_path / "host", layers=(ORGANISATION,))
    bench.begin()
    bench.sign(ORGANISATION, 2, rings=NOBODY)
    bench.pull()
    if came_back:
        come_back(bench)
    bench.restart()
    at_start = bench.acts_by()
    bench.pull()

    assert at_start == {ORGANISATION: 2 if came_back else 1}, "a former agent knows no roll-outs, and acted by it"
    assert bench.acts_by() == {ORGANISATION: 1}


def test_a_command_beside_a_former_agent_that_runs_takes_nothing_from_it(former: Former) -> None:
    former.write(range(1, 4), {3: 0})
    database = Database(former.folder / "agent.sqlite")
    stored = StoredPolicy(database, (ORGANISATION,), HostId(bytes(16)), MemoryLog())
    tables = {name for (name,) in database.read("SELECT name FROM sqlite_master WHERE type = 'table'")}
    database.close()

    assert stored.in_force_versions() == {ORGANISATION: 2}
    assert stored.audit_key() is not None
    assert tables == {"accepted_policy", "failed_policy"}


def under_its_name(folder: AgentFolder, _target: Path) -> None:
    with opened(folder, FakeClock()):
        pass


def exported(folder: AgentFolder, target: Path) -> None:
    assert list(export_spool(folder, target, FakeClock()))


@pytest.mark.parametrize("command", [under_its_name, exported])
def test_the_commands_of_a_person_leave_a_former_agent_s_tables_as_they_are(
    former: Former, enrolled: AgentFolder, tmp_path: Path, command: Callable[[AgentFolder, Path], None]
) -> None:
    former.write(range(1, 4), {3: 0})
    enrolled.database.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(former.folder / "agent.sqlite", enrolled.database)
    command(enrolled, tmp_path / "target")
    reading = ReadingDatabase(enrolled.database)

    assert (reading.has("failed_policy"), reading.has("policy_set")) == (True, False)
    reading.close()
