"""`leadglass-agent spool` as an engineer meets it, on folders of agents that have run; also when it is killed."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from pynetdicom import _config

from edge_agent.__main__ import main
from edge_agent.agent import locked
from edge_agent.audit.journal import Journal
from edge_agent.capture.registrar import GroupRegistrar
from edge_agent.config import AgentFolder, load_identity
from edge_agent.database import Database, ReadingDatabase
from edge_agent.deliver.receipts import Receipts
from edge_agent.enrol.enroller import enrol
from edge_agent.forward.queue import Forward, ForwardQueue
from edge_agent.spool.catalogue import read_counts
from edge_agent.spool.spool import Spool
from shared.audit.events import Event, Outcome
from shared.audit.record import AuditRecord
from shared.fleet.receipt import Receipt
from tests.edge_agent.moving.carrying import flip, object_files
from tests.edge_agent.test_agent import IDENTITIES, IMAGES, running, send, wait_for_listener
from tests.fakes.centre import Centre
from tests.fakes.clock import FakeClock
from tests.fakes.log import MemoryLog

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def as_it_lies_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)


@pytest.fixture
def old(centre: Centre, enrolled: AgentFolder) -> AgentFolder:
    """The folder of an agent that captured while the vault took nothing, and died."""
    centre.publish(1)
    centre.vault_status = 503
    with running(enrolled, MemoryLog()) as agent:
        wait_for_listener(centre, agent)
        assert [send(agent, image) for image in IMAGES] == [0] * len(IMAGES)
    centre.vault_status = 0
    return enrolled


@pytest.fixture
def new(centre: Centre, tmp_path: Path) -> AgentFolder:
    folder = AgentFolder(tmp_path / "new")
    enrol(folder, centre.enrol_url, centre.issue_code(), "CT 2, its replacement")
    return folder


def spool(action: str, folder: AgentFolder, stick: Path) -> int:
    return main(["spool", action, "--data", str(folder.path), str(stick)])


def host_of(folder: AgentFolder) -> str:
    return str(load_identity(folder).config.host_id)


@contextmanager
def opened(folder: AgentFolder) -> Iterator[Spool]:
    with closing(Database(folder.database)) as database:
        yield Spool(folder.spool, database)


def waiting(folder: AgentFolder) -> list[bytes]:
    found = []
    with opened(folder) as spool:
        for spooled in spool.everything():
            with spool.open(spooled) as file:
                found.append(file.read())
    return found


def registered(folder: AgentFolder) -> int:
    """Return how many objects stand in the catalogue."""
    with closing(sqlite3.connect(f"{folder.database.as_uri()}?mode=ro", uri=True)) as connection:
        return sum(count for count, _ in read_counts(connection).values())


def recorded(folder: AgentFolder, event: Event) -> list[AuditRecord]:
    """Return the records of `event`, the oldest first."""
    with closing(ReadingDatabase(folder.database)) as database:
        rows = database.read("SELECT public FROM record WHERE event = ? ORDER BY seq", (event.value,))
    return [AuditRecord.parse(public) for (public,) in rows]


def test_export_and_import_say_what_they_did_and_what_is_still_needed(
    old: AgentFolder, new: AgentFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stick = tmp_path / "stick"

    assert spool("export", old, stick) == 0
    told = capsys.readouterr().out
    assert f"{len(IMAGES)} objects of " in told
    assert host_of(old) in told
    assert spool("import", new, stick) == 0
    told = capsys.readouterr().out
    assert f"{len(IMAGES)} of {len(IMAGES)} objects taken in, 0 here already" in told
    assert f"leadglass-server spool allow --from {host_of(old)} --to {host_of(new)}" in told
    assert waiting(new) == waiting(old)


def test_an_import_from_nowhere_names_the_folder(
    new: AgentFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert spool("import", new, tmp_path / "not there") == 1
    assert f"there is no folder {tmp_path / 'not there'}" in capsys.readouterr().err


def test_what_was_brought_is_judged_by_the_key_of_the_host_that_captured_it(
    old: AgentFolder, new: AgentFolder, tmp_path: Path
) -> None:
    def verify() -> tuple[int, list[str]]:
        # A process of its own, because it steps back behind everything else and this one is not to.
        command = [sys.executable, "-m", "edge_agent", "spool", "verify", "--data", str(new.path), "--json"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        found = map(json.loads, done.stdout.splitlines())
        return done.returncode, [one["finding"] for one in found if "finding" in one]

    spool("export", old, tmp_path / "stick")
    spool("import", new, tmp_path / "stick")
    assert verify() == (0, ["whole"] * len(IMAGES))

    with opened(new) as held:
        spooled = held.everything()[0]
        place, offset = held.files / spooled.name, 0
        if spooled.place is not None:
            place, offset = held.segments.path(spooled.place.segment), spooled.place.offset
    with place.open("r+b") as file:
        file.seek(offset + 1000)
        byte = file.read(1)
        file.seek(offset + 1000)
        file.write(bytes([byte[0] ^ 1]))
    assert verify() == (1, ["damaged", *["whole"] * (len(IMAGES) - 1)])

    with closing(Database(new.database)) as database, database.transaction() as connection:
        connection.execute("UPDATE moved_host SET certificate = ?", (b"no certificate",))
    assert verify() == (1, ["not judged"] * len(IMAGES))


def test_status_shows_what_was_brought_and_waits(
    old: AgentFolder, new: AgentFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spool("export", old, tmp_path / "stick")
    spool("import", new, tmp_path / "stick")
    capsys.readouterr()

    main(["status", "--data", str(new.path), "--json"])
    (moved,) = json.loads(capsys.readouterr().out)["moved"]
    assert (moved["host"], moved["objects"], moved["records"] > 0) == (host_of(old), len(IMAGES), True)
    main(["status", "--data", str(new.path)])
    assert f"{len(IMAGES)} objects and {moved['records']} audit records of {host_of(old)} wait" in (
        capsys.readouterr().out
    )
    main(["status", "--data", str(old.path), "--json"])
    assert json.loads(capsys.readouterr().out)["moved"] == []


def test_an_export_takes_along_what_the_agent_had_acknowledged_and_not_entered_yet_when_it_was_killed(
    centre: Centre, enrolled: AgentFolder, new: AgentFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GroupRegistrar, "run", lambda _registrar, stop: stop.wait())
    centre.publish(1)
    with running(enrolled, MemoryLog()) as agent:
        wait_for_listener(centre, agent)
        assert [send(agent, image) for image in IMAGES] == [0] * len(IMAGES)
    assert registered(enrolled) == 0

    assert spool("export", enrolled, tmp_path / "stick") == 0
    assert spool("import", new, tmp_path / "stick") == 0
    assert len(waiting(new)) == len(IMAGES)
    with closing(Database(enrolled.database)) as database:
        journal = Journal(database, load_identity(enrolled).config.host_id, key=lambda: None, clock=FakeClock())
        assert journal.count(Event.IMAGE_CAPTURED) == len(IMAGES)


def test_a_spool_that_cannot_be_put_in_order_is_exported_as_far_as_it_goes_and_it_is_said(
    old: AgentFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # What stands in the place of a segment that the disk does not give; with names in it, it has a size on every disk.
    segment = old.spool / "segments" / f"{99:020}-{'0a' * 16}.seg"
    segment.mkdir()
    for name in range(300):
        (segment / str(name)).touch()

    assert spool("export", old, tmp_path / "stick") == 1
    told = capsys.readouterr()
    assert f"{len(IMAGES)} objects of " in told.out
    assert "what this host took last before it stopped, if there is any: segment 99 has blocks" in told.err


def test_an_export_says_how_many_images_an_archive_is_owed_and_which_of_them_stay(
    old: AgentFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Database(old.database)) as database:
        host_id, clock = load_identity(old).config.host_id, FakeClock()
        journal = Journal(database, host_id, key=lambda: None, clock=clock)
        held = Spool(old.spool, database)
        with database.transaction() as connection:
            for spooled in held.everything()[:2]:
                owed = Forward(spooled.object_id, ("PACS",), b"box")
                ForwardQueue(database, journal, host_id, clock).add(connection, owed)
            held.keep_owed(connection, spooled)
            Receipts(database).keep(Receipt(spooled.object_id, bytes(32), clock.now()), b"signed")

    assert spool("export", old, tmp_path / "stick") == 0
    told = capsys.readouterr().out
    assert f"{len(IMAGES) - 1} objects of " in told
    assert "2 images wait here for an archive" in told
    assert "1 of them, which the vault has, are not in the export" in told


def test_no_identity_lies_anywhere_in_an_export(old: AgentFolder, tmp_path: Path) -> None:
    spool("export", old, tmp_path / "stick")

    files = [path for path in (tmp_path / "stick").rglob("*") if path.is_file()]
    carried = b"".join(path.read_bytes() for path in files) + b"".join(os.fsencode(path.name) for path in files)
    uids = [image.sop_instance.encode() for image in IMAGES]
    assert [secret for secret in (*IDENTITIES, *uids) if secret in carried] == []
    private = (old.identity / "evidence.key").read_bytes(), load_identity(old).config.sop_hash_key
    assert [secret for secret in private if secret in carried] == []


@pytest.mark.parametrize("action", ["export", "import"])
def test_while_an_agent_runs_in_the_folder_nothing_is_touched(
    old: AgentFolder, tmp_path: Path, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(old):
        assert spool(action, old, tmp_path / "stick") == 3
    assert "another agent is running" in capsys.readouterr().err
    assert not (tmp_path / "stick").exists()


@pytest.mark.parametrize("action", ["export", "import"])
def test_what_is_not_enrolled_is_refused_and_left_empty(tmp_path: Path, action: str) -> None:
    nothing = AgentFolder(tmp_path / "nothing")
    nothing.path.mkdir()

    assert spool(action, nothing, tmp_path / "stick") == 1
    assert not list(nothing.path.iterdir())


def test_what_had_to_be_left_behind_or_refused_is_an_exit_code_and_a_name(
    old: AgentFolder, new: AgentFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(old) as held:
        rotten = held.everything()[1]
        assert rotten.place is not None
        flip(held.segments.path(rotten.place.segment), rotten.place.offset + 400)

    assert spool("export", old, tmp_path / "stick") == 1
    assert f"object {rotten.object_id}: damaged" in capsys.readouterr().err
    assert spool("import", new, tmp_path / "stick") == 1
    assert f"object {rotten.object_id}: damaged on the old host already" in capsys.readouterr().err
    assert len(waiting(new)) == len(IMAGES) - 1


def test_an_export_is_not_written_into_a_folder_that_is_there(old: AgentFolder, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("do not touch")

    assert spool("export", old, tmp_path) == 1
    assert (tmp_path / "mine").read_text() == "do not touch"


def killed(action: str, images: int, folder: AgentFolder, stick: Path) -> None:
    command = [sys.executable, "-m", "tests.edge_agent.moving.killed", action, str(images), str(folder.path)]
    ended = subprocess.run([*command, str(stick)], cwd=ROOT, capture_output=True, check=False, timeout=180)
    assert ended.returncode == -signal.SIGKILL


def test_an_import_that_is_killed_again_and_again_ends_with_everything_once(
    old: AgentFolder, new: AgentFolder, tmp_path: Path
) -> None:
    stick = tmp_path / "stick"
    assert spool("export", old, stick) == 0

    for count in range(1, len(IMAGES)):
        killed("import", 1, new, stick)
        assert registered(new) == count

    assert spool("import", new, stick) == 0
    assert sorted(waiting(new)) == sorted(waiting(old))
    *cut_off, whole = recorded(new, Event.SPOOL_IMPORTED)
    assert len(recorded(new, Event.SPOOL_IMPORT_BEGUN)) == len(cut_off) + 1, "each attempt has one outcome"
    assert [one.outcome for one in cut_off] == [Outcome.SERIOUS_FAILURE] * (len(IMAGES) - 1)
    assert (whole.outcome, whole.what) == (Outcome.SUCCESS, cut_off[0].what)
    assert spool("import", new, stick) == 0
    assert len(waiting(new)) == len(IMAGES)


def test_an_export_that_was_killed_is_none_and_the_next_one_is_whole(
    old: AgentFolder, new: AgentFolder, tmp_path: Path
) -> None:
    stick, before = tmp_path / "stick", waiting(old)
    killed("export", 2, old, stick)

    assert spool("import", new, stick) == 1
    assert waiting(new) == []
    assert waiting(old) == before
    assert spool("export", old, stick) == 1
    assert spool("export", old, tmp_path / "another") == 0
    assert len(object_files(tmp_path / "another")) == len(IMAGES)


@pytest.mark.parametrize("next_one", ["agent", "command"])
def test_an_export_that_was_killed_is_recorded_as_failed_by_whoever_comes_next(
    centre: Centre, old: AgentFolder, tmp_path: Path, next_one: str
) -> None:
    stick = tmp_path / "stick"
    killed("export", 2, old, stick)
    (begun,) = recorded(old, Event.SPOOL_EXPORT_BEGUN)
    before = recorded(old, Event.SPOOL_EXPORTED)

    if next_one == "agent":
        with running(old, MemoryLog()) as agent:
            wait_for_listener(centre, agent)
    else:
        assert spool("import", old, tmp_path / "nothing") == 1

    *_, failed = recorded(old, Event.SPOOL_EXPORTED)
    assert len(recorded(old, Event.SPOOL_EXPORTED)) == len(before) + 1
    assert (failed.outcome, failed.what, failed.who) == (Outcome.SERIOUS_FAILURE, begun.what, begun.who)
    assert failed.reason == f"begun in record {begun.seq} and cut off; how far it came was not recorded"
