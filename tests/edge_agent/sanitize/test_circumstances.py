"""What is gathered before a wipe: above all, how many images of this host nobody else has yet."""

from pathlib import Path

import pytest

from edge_agent.config import AgentFolder
from edge_agent.database import Database
from edge_agent.sanitize.circumstances import gather, undelivered
from edge_agent.sanitize.drives import find_drives
from edge_agent.sanitize.refuse import RefusalKind, refusals
from edge_agent.spool.attempts import Attempts
from edge_agent.spool.catalogue import Catalogue, Spooled, State
from shared.identity import ObjectId
from tests.edge_agent.sanitize.drive_trees import AHCI, SAS, Tree, not_looked_at, vpd80, vpd89
from tests.edge_agent.sanitize.test_refuse import MEDIUM, TICKET


@pytest.fixture
def agent(tmp_path: Path) -> AgentFolder:
    """An agent that was enrolled and has not taken anything in."""
    agent = AgentFolder(tmp_path / "agent")
    for folder in ("identity", "journal", "spool/files", "spool/segments"):
        (agent.path / folder).mkdir(parents=True)
    agent.config.write_bytes(b"{}")
    return agent


def spooled(agent: AgentFolder, *states: State) -> None:
    database = Database(agent.database)
    catalogue = Catalogue(database)
    with database.transaction() as connection:
        for number, state in enumerate(states):
            catalogue.add(connection, Spooled(number, ObjectId(number.to_bytes(16)), 100), state)
    database.close()


def test_counts_what_waits_was_put_aside_is_owed_or_is_coming_in_and_nothing_else(agent: AgentFolder) -> None:
    assert undelivered(agent) == 0
    spooled(agent, State.WAITING, State.WAITING, State.PUT_ASIDE, State.OWED, State.DISCARDED, State.GONE)
    attempts = Attempts(agent.spool / "attempts")
    attempts.forget()
    attempts.begin(ObjectId(bytes([7] * 16)))

    assert undelivered(agent) == 5


def test_what_cannot_be_counted_is_unknown(agent: AgentFolder, tmp_path: Path) -> None:
    assert undelivered(AgentFolder(tmp_path / "absent")) is None
    (agent.spool / "files" / "00000000000000000001-0").touch()  # objects, and no catalogue that knows them
    assert undelivered(agent) is None
    agent.database.write_bytes(b"SQLite format 3\0 and not")
    assert undelivered(agent) is None


def test_gathers_what_lets_the_ticket_pass_and_what_does_not(agent: AgentFolder, tmp_path: Path) -> None:
    tree = Tree(tmp_path / "tree")
    page = vpd89(MEDIUM.serial, MEDIUM.model, MEDIUM.firmware, MEDIUM.wwn.removeprefix("naa."))
    tree.disk("sda", "8:0", AHCI, MEDIUM.size_bytes, vendor="ATA     ", vpd_pg89=page)

    def kinds() -> set[RefusalKind]:
        present = find_drives(tree.host, not_looked_at, lambda node: None)
        found = gather(
            present[0], present, agent=agent, states=[tmp_path], is_ticket_used=False, hold=False, is_clock_sure=True,
            host=tree.host,
        )  # fmt: skip
        return {refusal.kind for refusal in refusals(TICKET, found)}

    assert kinds() == set()
    tree.disk("sdb", "8:16", SAS, vpd_pg80=vpd80(MEDIUM.serial.encode()))  # cheap sticks all have one serial number
    assert kinds() == {RefusalKind.NOT_THE_ONLY_ONE}
    (tree.host.proc / "1/mountinfo").unlink()  # then nobody can say that nothing uses it
    spooled(agent, State.WAITING)
    assert kinds() == {
        RefusalKind.NOT_THE_ONLY_ONE, RefusalKind.IN_USE, RefusalKind.RUNNING_SYSTEM, RefusalKind.UNDELIVERED_IMAGES,
    }  # fmt: skip
