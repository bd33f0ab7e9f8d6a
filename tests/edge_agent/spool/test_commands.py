"""`leadglass-agent spool`: from the folder alone or beside a running agent, for people and for scripts."""

import json
import os
import subprocess
import sys
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path

import psutil
import pytest

from edge_agent.__main__ import main
from edge_agent.agent import Agent, Settings
from edge_agent.beside import account
from edge_agent.capture.listener import Address
from edge_agent.config import AgentFolder
from edge_agent.spool.catalogue import State
from edge_agent.spool.quiet import step_back
from shared.audit.events import Event
from shared.audit.record import AuditRecord
from shared.clock import SystemClock
from shared.dicom.dimse import Status
from shared.identity import ObjectId
from tests.edge_agent.capture.wire import Peer, store
from tests.fakes.centre import Centre
from tests.fakes.host import Host
from tests.fakes.log import MemoryLog
from tests.threads import in_thread

ROOT = Path(__file__).parents[3]
SMALL, LARGE = b"\x08\x00" * 20_000, bytes(2 << 20)


@pytest.fixture
def host(centre: Centre, enrolled: AgentFolder) -> Host:
    """Who enrolled; no agent runs."""
    return Host.enrolled(enrolled, centre.keys)


def run(folder: AgentFolder, *arguments: str) -> int:
    action, *others = arguments
    return main(["spool", action, "--data", str(folder.path), *others])


def process(folder: AgentFolder, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command as a process: it steps back behind everything else, and this one is not to."""
    action, *others = arguments
    command = [sys.executable, "-m", "edge_agent", "spool", action, "--data", str(folder.path), *others]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)


def put_aside(host: Host, object_id: ObjectId, why: str = "DoorRefused: the vault answered 422") -> None:
    (spooled,) = [one for one in host.spool.everything() if one.object_id == object_id]
    host.spool.put_aside(spooled, why)


def rot(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[10_000] ^= 1
    path.write_bytes(data)


def tree(folder: AgentFolder) -> dict[str, tuple[bytes, int]]:
    """Return content and time of every file, but for the two that SQLite makes beside its own while it is open."""
    files = (path for path in folder.path.rglob("*") if path.is_file() and not path.name.endswith(("-wal", "-shm")))
    return {str(path): (sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns) for path in files}


# ---- list


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"]])
def test_a_host_that_never_captured_lists_nothing(
    enrolled: AgentFolder, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(enrolled, *arguments) == 0
    out = capsys.readouterr().out
    assert out == "" if "--json" in arguments else "0 objects: 0 waiting, 0 put aside, 0 owed" in out


def test_list_shows_people_what_lies_here_in_which_state_and_why(
    enrolled: AgentFolder, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting, aside, owed = host.capture(SMALL, uid="1.2.1"), host.capture(SMALL, uid="1.2.2"), host.capture(LARGE)
    put_aside(host, aside)
    with host.database.transaction() as connection:
        host.spool.keep_owed(connection, host.spool.everything()[-1])
    coming = host.spool.begin(ObjectId.new())

    assert run(enrolled, "list") == 0
    shown = capsys.readouterr().out.splitlines()
    captured = "2026-03-01T08:00:00"
    assert shown[1].startswith(f"       1 {waiting} waiting ")
    assert all(part in shown[1] for part in (captured, " restricted ", "segment 1 at 4096"))
    assert shown[2].startswith(f"       2 {aside} put aside ")
    assert "a file of its own" in shown[2]
    assert shown[3].strip() == "DoorRefused: the vault answered 422"
    assert shown[4].startswith(f"       3 {owed} owed ")
    sizes = sum(row.spooled.object_bytes for row in host.spool.rows(*State))
    assert shown[5:] == [f"3 objects: 1 waiting, 1 put aside, 1 owed; {sizes} bytes; 1 coming in"]
    coming.discard()


def test_list_tells_scripts_the_same_one_object_a_line(
    enrolled: AgentFolder, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting, aside = host.capture(SMALL, uid="1.2.1"), host.capture(LARGE, uid="1.2.2")
    put_aside(host, aside)
    coming = host.spool.begin(ObjectId.new())

    assert run(enrolled, "list", "--json") == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["object"], one["state"]) for one in said] == [
        (str(coming.object_id), "coming in"),
        (str(waiting), "waiting"),
        (str(aside), "put aside"),
    ]
    assert said[1] | {"bytes": 0, "captured": ""} == {
        "number": 1, "object": str(waiting), "state": "waiting", "bytes": 0, "captured": "", "grade": "restricted",
        "policy_version": 1, "routes": [], "place": "segments/00000000000000000001 at 4096", "why": "", "no_record": "",
    }  # fmt: skip
    assert {frozenset(one) for one in said} == {frozenset(said[1])}
    coming.discard()


def test_list_shows_nothing_that_the_host_did_not_sign(
    enrolled: AgentFolder, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.capture(LARGE)
    (file,) = host.files()
    data = bytearray(file.read_bytes())
    data[-300] ^= 1
    file.write_bytes(data)

    assert run(enrolled, "list", "--json") == 0
    (said,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (said["grade"], said["captured"], said["routes"]) == (None, None, None)
    assert "does not verify" in said["no_record"]
    assert run(enrolled, "list") == 0
    assert "no record: signature" in capsys.readouterr().out


def test_a_reader_that_goes_away_gets_no_traceback_and_the_script_no_success(enrolled: AgentFolder, host: Host) -> None:
    for number in range(3):
        host.capture(uid=f"1.2.{number}")
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "edge_agent", "spool", "list", "--data", str(enrolled.path)]
    done = subprocess.run(command, cwd=ROOT, check=False, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)

    assert done.returncode == 1
    assert done.stderr == "leadglass-agent spool: whoever read this went away before its end\n"


# ---- verify


def test_verify_says_whole_of_each_object_and_plainly_what_that_does_not_prove(
    enrolled: AgentFolder, host: Host
) -> None:
    small, large = host.capture(SMALL, uid="1.2.1"), host.capture(LARGE, uid="1.2.2")
    done = process(enrolled, "verify")

    assert (done.returncode, done.stderr) == (0, "")
    shown = done.stdout.splitlines()
    assert shown[:3] == [f"       1 {small} whole", f"       2 {large} whole", "2 looked at: 2 whole"]
    assert "does not prove that an image opens" in done.stdout


def test_verify_ends_with_1_where_anything_is_not_whole_and_says_what_and_why(
    enrolled: AgentFolder, host: Host
) -> None:
    whole, rotten = host.capture(LARGE, uid="1.2.1"), host.capture(LARGE, uid="1.2.2")
    rot(host.spool.files / host.spool.everything()[1].name)
    done = process(enrolled, "verify")

    assert done.returncode == 1
    assert f"{whole} whole\n" in done.stdout
    assert f"       2 {rotten} damaged: the sealed body of object {rotten}" in done.stdout
    assert "2 looked at: 1 whole, 1 damaged" in done.stdout
    assert done.stderr == "leadglass-agent spool: 1 of what lies here is not whole, or nobody can tell\n"
    as_json = process(enrolled, "verify", "--json", str(rotten), "1")
    said = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert [one.get("finding") for one in said] == ["damaged", "whole", None]
    assert (said[-1], as_json.returncode) == ({"counts": {"damaged": 1, "whole": 1}}, 1)


@pytest.mark.parametrize("unknown", ["4711", "00" * 16, "not a name"])
def test_verify_of_what_is_not_here_says_so(enrolled: AgentFolder, host: Host, unknown: str) -> None:
    host.capture()

    assert process(enrolled, "verify", unknown).returncode == (2 if unknown == "not a name" else 1)


def test_verify_finds_what_no_catalogue_knows_also_where_the_database_is_lost(
    enrolled: AgentFolder, host: Host
) -> None:
    lost = host.capture(LARGE)
    host.database.close()
    for path in enrolled.database.parent.glob("agent.sqlite*"):
        path.unlink()
    done = process(enrolled, "verify")

    assert f"       1 {lost} not in the catalogue, whole: the next start registers it" in done.stdout
    assert not enrolled.database.exists()


def test_looking_changes_nothing(enrolled: AgentFolder, host: Host) -> None:
    for number, dataset in enumerate((SMALL, LARGE, LARGE)):
        host.capture(dataset, uid=f"1.2.{number}")
    rot(sorted(host.files())[0])
    host.database.close()
    before = tree(enrolled)
    for arguments in (["list"], ["list", "--json"], ["verify"], ["verify", "--json"], ["verify", "1"]):
        process(enrolled, *arguments)

    assert tree(enrolled) == before


def test_a_process_that_steps_back_waits_for_everybody_else(tmp_path: Path) -> None:
    script = f"from {step_back.__module__} import step_back; step_back(); input()"
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE) as stepped_back:
        watched = psutil.Process(stepped_back.pid)
        while watched.nice() != 19 and stepped_back.poll() is None:
            pass
        assert stepped_back.poll() is None
        stepped_back.communicate(b"\n")


# ---- retry and discard


def test_retry_and_discard_say_how_many_and_are_recorded_with_the_account(
    enrolled: AgentFolder, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    again, worthless = host.capture(SMALL, uid="1.2.1"), host.capture(LARGE, uid="1.2.2")
    for object_id in (again, worthless):
        put_aside(host, object_id)
    rot(host.spool.files / f"{2:020}-{worthless}")

    assert run(enrolled, "discard", str(worthless), "--reason", "a power cut tore it") == 0
    assert capsys.readouterr().out.startswith("1 objects are given up for good; ")
    assert run(enrolled, "retry", "--all") == 0
    assert capsys.readouterr().out.startswith("1 objects that were put aside wait for delivery again; ")
    assert [(row.spooled.object_id, row.state) for row in host.spool.rows(*State)] == [
        (again, State.WAITING),
        (worthless, State.DISCARDED),
    ]
    decided = [record for record in host.records() if record.who[0].kind == "person"]
    assert [record.event for record in decided] == [Event.OBJECT_DISCARDED, Event.DELIVERY_RETRIED]
    assert {record.who[0].name for record in decided} == {account()}


@pytest.mark.parametrize(
    "arguments, code",
    [
        (["retry", "4711"], 1),
        (["retry", "not a name"], 2),
        (["discard", "1", "--reason", "it waits"], 1),
        (["discard", "2", "--reason", "it is whole"], 1),
        (["discard", "2", "--reason", "  "], 2),
    ],
)
def test_what_may_not_be_decided_changes_nothing(
    enrolled: AgentFolder, host: Host, arguments: list[str], code: int
) -> None:
    host.capture(uid="1.2.1")
    put_aside(host, host.capture(uid="1.2.2"))
    before = list(host.spool.rows(*State)), host.events()

    assert run(enrolled, *arguments) == code
    assert (list(host.spool.rows(*State)), host.events()) == before


@pytest.mark.parametrize(
    "arguments", [["retry"], ["retry", "1", "--all"], ["discard", "1"], ["discard", "--reason", "x"]]
)
def test_a_decision_says_on_what_and_why(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(AgentFolder(tmp_path), *arguments)
    assert stopped.value.code == 2


@pytest.mark.parametrize("arguments", [["retry", "--all"], ["discard", "1", "--reason", "why"]])
def test_where_nothing_was_ever_captured_there_is_nothing_to_decide_on(
    enrolled: AgentFolder, arguments: list[str]
) -> None:
    assert run(enrolled, *arguments) == 1
    assert not enrolled.database.exists()


def test_what_is_neither_number_nor_id_is_named_as_that(
    host: Host, enrolled: AgentFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(enrolled, "retry", "xyz") == 2
    assert "expected a number or an object id" in capsys.readouterr().err


# ---- beside a running agent


def running(folder: AgentFolder) -> AbstractContextManager[Agent]:
    """Run an agent that looks again every half second where the real one takes a minute."""
    agent = Agent(Settings(folder, Address("127.0.0.1", 0, "LEADGLASS")), SystemClock(), MemoryLog())
    (delivery,) = [part for part in agent._parts if part.name == "delivery"]
    vars(delivery)["_look_again_s"] = 0.5
    return in_thread(agent)


def send(agent: Agent, dataset: bytes) -> None:
    assert agent.listener.port is not None
    peer = Peer(agent.listener.port)
    peer.send(store(dataset))
    assert peer.status() == Status.SUCCESS
    peer.close()


def recorded(centre: Centre, event: Event) -> list[AuditRecord]:
    records = (AuditRecord.parse(record.public) for record in list(centre.audit))
    return [record for record in records if record.event is event]


@pytest.mark.parametrize("dataset", [SMALL, LARGE], ids=["in a segment", "a file of its own"])
def test_an_agent_that_runs_delivers_what_another_process_lets_wait_again(
    centre: Centre, enrolled: AgentFolder, dataset: bytes
) -> None:
    centre.publish(1)
    centre.vault_status = 422
    with running(enrolled) as agent:
        centre.wait_for(lambda: agent.listener.port is not None)
        send(agent, dataset)
        centre.wait_for(lambda: agent.spool.amiss() == 1)
        centre.vault_status = 0
        assert "1 put aside" in process(enrolled, "list").stdout.splitlines()[-1]
        assert process(enrolled, "verify").returncode == 0

        assert process(enrolled, "retry", "--all").returncode == 0
        centre.wait_for(lambda: len(centre.objects) == 1)
        centre.wait_for(lambda: agent.spool.held_bytes() == 0)
        centre.wait_for(lambda: len(recorded(centre, Event.DELIVERY_RETRIED)) == 1)
    (name,) = centre.objects
    assert centre.open(name)[0] == dataset


def test_an_agent_that_runs_gives_up_the_room_of_what_another_process_discards(
    centre: Centre, enrolled: AgentFolder
) -> None:
    centre.publish(1)
    centre.vault_status = 422
    with running(enrolled) as agent:
        centre.wait_for(lambda: agent.listener.port is not None)
        send(agent, LARGE)
        centre.wait_for(lambda: agent.spool.amiss() == 1)
        (row,) = agent.spool.rows(State.PUT_ASIDE)
        refused = process(enrolled, "discard", str(row.spooled.number), "--reason", "nobody needs it")
        assert (refused.returncode, "may be the only copy" in refused.stderr) == (1, True)
        rot(agent.spool.files / row.spooled.name)

        assert process(enrolled, "discard", str(row.spooled.number), "--reason", "it is rotten").returncode == 0
        centre.wait_for(lambda: agent.spool.held_bytes() == 0)
        centre.wait_for(lambda: not list(agent.spool.files.iterdir()))
    assert centre.objects == {}


def test_verify_beside_an_agent_that_captures_and_delivers_finds_no_damage(
    centre: Centre, enrolled: AgentFolder
) -> None:
    centre.publish(1)
    centre.vault_status = 503
    with running(enrolled) as agent:
        centre.wait_for(lambda: agent.listener.port is not None)
        for number in range(24):
            send(agent, SMALL if number % 4 else LARGE)
        centre.wait_for(lambda: agent.spool.waiting() == 24)
        findings = set[str]()
        while not findings or agent.spool.waiting():
            done = process(enrolled, "verify", "--json")
            assert done.returncode == 0, done.stdout
            findings |= json.loads(done.stdout.splitlines()[-1])["counts"].keys()
            # Only now, so that there was something to find however quickly it goes.
            centre.vault_status = 0
            agent.spool._on_ready()
        assert findings <= {"whole", "gone meanwhile"}
        assert len(centre.objects) == 24
