"""A host whose keys went with its TPM exports nothing any more: another one takes what proves itself from its disk."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from pynetdicom import _config

from edge_agent.__main__ import main
from edge_agent.audit.journal import Journal
from edge_agent.config import AgentFolder, load_enrolment
from edge_agent.database import Database
from edge_agent.deliver.receipts import Receipts
from edge_agent.enrol.enroller import enrol
from edge_agent.host_keys.tpm import TpmVault
from edge_agent.spool.spool import Spool
from shared.audit.events import Event, Outcome
from shared.audit.record import AuditRecord
from shared.fleet.receipt import Receipt
from tests.edge_agent.moving.test_commands import opened, waiting
from tests.edge_agent.test_agent import IMAGES, running, send, wait_for_listener
from tests.fakes.centre import Centre
from tests.fakes.clock import FakeClock
from tests.fakes.log import MemoryLog
from tests.fakes.software_tpm import SoftwareTpm


@pytest.fixture
def old(
    centre: Centre,
    enrolled: AgentFolder,
    tpm: SoftwareTpm,
    monkeypatch: pytest.MonkeyPatch,
) -> AgentFolder:
    """The folder of an agent that captured while the vault took nothing, in a machine without its TPM."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    centre.publish(1)
    centre.vault_status = 503
    with running(enrolled, MemoryLog()) as agent:
        wait_for_listener(centre, agent)
        assert [send(agent, image) for image in IMAGES] == [0] * len(IMAGES)
    centre.vault_status = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge_agent.host_keys.store.TpmVault", lambda: tpm.vault)
        assert main(["keys", "move", "--data", str(enrolled.path), "--to", "tpm"]) == 0
    monkeypatch.setattr("edge_agent.host_keys.store.TpmVault", lambda: TpmVault("device:/dev/no-such-tpm"))
    return enrolled


@pytest.fixture
def new(centre: Centre, tmp_path: Path) -> AgentFolder:
    folder = AgentFolder(tmp_path / "new")
    enrol(folder, centre.enrol_url, centre.issue_code(), "CT 2, its replacement")
    return folder


def rescue(new: AgentFolder, old: AgentFolder) -> int:
    return main(["spool", "rescue", "--data", str(new.path), str(old.path)])


def imports(folder: AgentFolder) -> list[AuditRecord]:
    with closing(Database(folder.database)) as database:
        host_id = load_enrolment(folder).config.host_id
        unsent = Journal(database, host_id, key=lambda: None, clock=FakeClock()).after(0, most=99, most_bytes=1 << 20)
    assert unsent is not None
    found = [AuditRecord.parse(stored.public) for stored in unsent.records]
    return [record for record in found if record.event is Event.SPOOL_IMPORTED]


def flip_one(folder: AgentFolder) -> None:
    """Flip a bit in the body of the first object in the spool."""
    with opened(folder) as spool:
        spooled = spool.everything()[0]
        place, offset = spool.files / spooled.name, 0
        if spooled.place is not None:
            place, offset = spool.segments.path(spooled.place.segment), spooled.place.offset
    with place.open("r+b") as file:
        file.seek(offset + 1000)
        byte = file.read(1)
        file.seek(offset + 1000)
        file.write(bytes([byte[0] ^ 1]))


def test_what_a_host_captured_outlives_its_keys(
    centre: Centre, old: AgentFolder, new: AgentFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Without its keys it exports nothing: this is what the rescue is for.
    assert main(["spool", "export", "--data", str(old.path), str(tmp_path / "stick")]) == 3
    capsys.readouterr()

    assert rescue(new, old) == 0
    told = capsys.readouterr().out
    source, target = (load_enrolment(folder).config.host_id for folder in (old, new))
    assert f"{len(IMAGES)} objects of {source} taken in, 0 here already or delivered" in told
    assert f"leadglass-server spool allow --from {source} --to {target}" in told
    assert "audit records of it stay behind" in told
    assert waiting(new) == waiting(old)
    (record,) = imports(new)
    assert (record.outcome, record.what[0].name) == (Outcome.SUCCESS, str(source))


def test_what_stayed_for_an_archive_is_rescued_only_where_the_vault_may_have_lost_it(
    old: AgentFolder, new: AgentFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Database(old.database)) as database, database.transaction() as connection:
        spool, receipts = Spool(old.spool, database), Receipts(database)
        doubted, *others = spool.everything()
        for spooled in (doubted, *others):
            receipts.keep(Receipt(spooled.object_id, bytes(32), FakeClock().now()), b"signed")
            spool.keep_owed(connection, spooled)
        receipts.doubt([str(doubted.object_id)])

    assert rescue(new, old) == 0
    assert "\n1 objects of " in "\n" + capsys.readouterr().out
    with opened(new) as spool:
        assert [spooled.object_id for spooled in spool.everything()] == [doubted.object_id]


def test_a_second_time_takes_in_nothing_twice(
    old: AgentFolder, new: AgentFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    rescue(new, old)
    before = waiting(new)
    capsys.readouterr()

    assert rescue(new, old) == 0
    assert f"taken in, {len(IMAGES)} here already or delivered" in capsys.readouterr().out
    assert waiting(new) == before


def test_an_object_that_was_altered_on_that_disk_is_named_and_stays_there(
    old: AgentFolder, new: AgentFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    flip_one(old)

    assert rescue(new, old) == 1
    told = capsys.readouterr()
    assert f"{len(IMAGES) - 1} objects of" in told.out
    assert "ObjectAltered" in told.err
    assert len(waiting(new)) == len(IMAGES) - 1
    assert imports(new)[-1].outcome is Outcome.MINOR_FAILURE


def test_signatures_of_a_host_of_another_authority_count_for_nothing(
    old: AgentFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    elsewhere = Centre(tmp_path / "elsewhere")
    elsewhere.start()
    stranger = AgentFolder(tmp_path / "stranger")
    enrol(stranger, elsewhere.enrol_url, elsewhere.issue_code(), "CT 9")
    elsewhere.stop()

    assert rescue(stranger, old) == 1
    assert "proves nothing here" in capsys.readouterr().err
    assert waiting(stranger) == []


def test_where_the_keys_open_an_export_is_asked_for(
    old: AgentFolder, new: AgentFolder, tpm: SoftwareTpm, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("edge_agent.host_keys.store.TpmVault", lambda: tpm.vault)

    assert rescue(new, old) == 1
    assert "use `spool export`" in capsys.readouterr().err
    assert not new.database.exists()


def test_a_copy_of_a_folder_is_not_rescued_into_itself(
    old: AgentFolder, enrolled: AgentFolder, tmp_path: Path, tpm: SoftwareTpm, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    copy = AgentFolder(tmp_path / "copy")
    shutil.copytree(old.path, copy.path)
    monkeypatch.setattr("edge_agent.host_keys.store.TpmVault", lambda: tpm.vault)
    assert main(["keys", "move", "--data", str(copy.path), "--to", "file"]) == 0
    monkeypatch.setattr("edge_agent.host_keys.store.TpmVault", lambda: TpmVault("device:/dev/no-such-tpm"))

    assert rescue(copy, old) == 1
    assert "both folders are those of" in capsys.readouterr().err
