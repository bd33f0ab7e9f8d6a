"""What a person at the host can see and decide: from the folder alone, recorded, while the agent runs or not."""

import json
from pathlib import Path

import pytest

from edge_agent.__main__ import main
from edge_agent.beside import account
from edge_agent.config import AgentFolder, load_identity
from shared.audit.events import Event
from shared.audit.record import AuditRecord, StoredRecord, open_private
from shared.identity import ObjectId
from tests.edge_agent.forward.bench import ForwardBench, route
from tests.fakes.archive import Archive
from tests.fakes.host import Host
from tests.fakes.ports import free_port


@pytest.fixture
def bench(enrolled: AgentFolder) -> ForwardBench:
    """Who enrolled, with the database where the command looks for it."""
    identity = load_identity(enrolled)
    enrolled.database.parent.mkdir(exist_ok=True)
    host = Host(enrolled.database.parent, host_id=identity.config.host_id, signer=identity.signer)
    return ForwardBench(enrolled.database.parent, host=host)


def run(folder: AgentFolder, *arguments: str) -> int:
    action, *others = arguments
    return main(["forward", action, "--data", str(folder.path), *others])


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"]])
def test_a_host_that_never_forwarded_lists_nothing(enrolled: AgentFolder, arguments: list[str]) -> None:
    assert run(enrolled, *arguments) == 0


def test_list_says_what_waits_and_why(
    enrolled: AgentFolder, bench: ForwardBench, pacs: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    pacs.status_of = lambda _: 0xC123
    bench.publish(route(pacs), route(free_port(), name="away"))
    refused, waiting = bench.capture(), bench.capture(routes=("away",))
    bench.work(route(pacs))
    bench.work(route(free_port(), name="away"))

    assert run(enrolled, "list") == 0
    shown = capsys.readouterr().out
    assert "openable on this host: 2" in shown
    assert f"  {refused.object_id} refused, 1 tries" in shown
    assert "status C123" in shown
    assert "away: 1 waiting since" in shown
    assert "cannot be reached" in shown
    assert run(enrolled, "list", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["object"] for row in said["owed"]] == [str(refused.object_id), str(waiting.object_id)]
    assert main(["status", "--data", str(enrolled.path)]) == 0
    shown = capsys.readouterr().out
    assert "openable on this host 2" in shown
    assert "route away           1 waiting; PeerUnreachable" in shown
    assert refused.uid not in shown


def test_retry_has_it_tried_at_once_and_is_recorded(
    enrolled: AgentFolder, bench: ForwardBench, pacs: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    to = route(pacs)
    pacs.status_of = lambda _: 0x0124
    bench.publish(to)
    sent = bench.capture()
    bench.work(to)
    pacs.status_of = lambda _: 0
    assert bench.work(to) is not None

    assert run(enrolled, "retry", "pacs") == 0
    assert "all that waits is tried again within a minute; 1 of it the archive had refused" in capsys.readouterr().out
    bench.work(to)
    assert pacs.stored == [sent.arrived]
    (record,) = bench.records(Event.ROUTE_RETRIED)
    assert (record.who[0].kind, record.who[0].name) == ("person", account())


def test_drop_gives_up_one_image_for_good_and_its_reason_is_sealed(
    enrolled: AgentFolder, bench: ForwardBench, pacs: Archive
) -> None:
    to = route(pacs)
    bench.publish(to)
    dropped, sent = bench.capture(), bench.capture()
    why = "Erika Muster was examined twice"

    assert run(enrolled, "drop", "pacs", "--object", str(dropped.object_id), "--reason", why) == 0
    assert not bench.forwards.holds(dropped.object_id)
    assert bench.queue.openable() == 1
    bench.work(to)
    assert pacs.stored == [sent.arrived]
    unsent = bench.host.journal.unsent(most=100, most_bytes=1 << 20)
    assert unsent is not None
    (stored,) = [one for one in unsent.records if AuditRecord.parse(one.public).event is Event.ROUTE_DROPPED]
    assert b"Erika" not in stored.public
    assert open_private(StoredRecord(stored.public, stored.sealed), bench.host.keys.audit) == {"reason": why}
    record = AuditRecord.parse(stored.public)
    assert [what.name for what in record.what] == [str(dropped.object_id), "pacs"]
    assert record.who[0].name == account()


def test_drop_of_all_leaves_what_another_archive_is_owed(enrolled: AgentFolder, bench: ForwardBench) -> None:
    bench.publish(route(1), route(2, name="second"))
    both, one = bench.capture(routes=("pacs", "second")), bench.capture()

    assert run(enrolled, "drop", "pacs", "--all", "--reason", "the archive was replaced") == 0
    assert (bench.forwards.holds(both.object_id), bench.forwards.holds(one.object_id)) == (True, False)
    assert bench.queue.openable() == 1
    assert len(bench.records(Event.ROUTE_DROPPED)) == 2


@pytest.mark.parametrize(
    "arguments, code",
    [
        (["retry", "nowhere"], 1),
        (["drop", "nowhere", "--all", "--reason", "why"], 1),
        (["drop", "pacs", "--object", str(ObjectId(bytes(16))), "--reason", "why"], 1),
        (["drop", "pacs", "--object", "not an id", "--reason", "why"], 2),
        (["drop", "pacs", "--all", "--reason", "  "], 2),
    ],
)
def test_what_is_not_there_or_says_no_reason_changes_nothing(
    enrolled: AgentFolder, bench: ForwardBench, arguments: list[str], code: int
) -> None:
    bench.publish(route(1))
    bench.capture()
    before = bench.host.events()

    assert run(enrolled, *arguments) == code
    assert bench.states() == ["waiting"]
    assert bench.host.events() == before


@pytest.mark.parametrize("arguments", [["drop", "pacs", "--all"], ["drop", "pacs", "--reason", "why"]])
def test_drop_needs_a_reason_and_says_of_what(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(AgentFolder(tmp_path), *arguments)
    assert stopped.value.code == 2
