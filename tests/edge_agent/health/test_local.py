"""What a host knows of itself, read while its agent works: an image is always seen somewhere."""

import threading
from dataclasses import replace

import pytest

from edge_agent.__main__ import main
from edge_agent.capture.registrar import GroupRegistrar
from edge_agent.config import AgentFolder, HostConfig
from edge_agent.health import local
from edge_agent.health.local import LocalLayer, read_status
from shared.fleet.receipt import Receipt
from shared.identity import ObjectId
from shared.policy.document import ORGANISATION
from shared.policy.part import PartContent, PartDocument
from tests.edge_agent.policy_sync.layered import EVERYBODY, NOBODY, SITE, TYPE, LayeredBench
from tests.fakes.centre import Centre
from tests.fakes.host import Host


@pytest.fixture
def host(centre: Centre, enrolled: AgentFolder) -> Host:
    host = Host.enrolled(enrolled, centre.keys)
    host.recover()
    return host


@pytest.mark.parametrize("moment", ["count", "read_folders", "read_counts"])
def test_an_image_that_is_registered_meanwhile_is_seen_coming_in_or_waiting(
    host: Host, enrolled: AgentFolder, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    registrar = GroupRegistrar(host.captures.entries, host.log)
    host.pipeline.registrar = registrar
    host.capture()
    stop = threading.Event()
    stop.set()
    read = getattr(local, moment)

    def registered_just_then(*arguments: object) -> object:
        found = read(*arguments)
        registrar.bell.ring()
        registrar.run(stop)
        return found

    monkeypatch.setattr(local, moment, registered_just_then)
    status = read_status(enrolled)

    assert status.coming_in + status.waiting > 0
    assert (host.spool.waiting(), host.spool.attempts.left_over()) == (1, ())


def with_parts(folder: AgentFolder, *parts: str) -> None:
    """Have a host be of these parts, as one that enrolled so."""
    file = folder.identity / "host.json"
    file.write_bytes(replace(HostConfig.parse(file.read_bytes()), parts=parts).encode())


def test_status_tells_of_every_layer_and_of_the_quota_in_force(
    enrolled: AgentFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with_parts(enrolled, TYPE, SITE)
    never = read_status(enrolled).layers
    bench = LayeredBench(enrolled.database.parent)
    bench.begin(ORGANISATION)
    stable, newest = (
        PartDocument(SITE, version, PartContent(spool_quota_bytes=version << 30)).encode() for version in (1, 2)
    )
    bench.publisher.sign(SITE, 2, newest, stable, NOBODY)
    bench.pull()
    waits = read_status(enrolled)
    bench.roll_out(SITE, EVERYBODY)
    reached = read_status(enrolled)

    assert never == tuple(LocalLayer(layer, 0, 0) for layer in (ORGANISATION, TYPE, SITE))
    assert (waits.policy_accepted, waits.layers[1:]) == (1, (LocalLayer(TYPE, 0, 0), LocalLayer(SITE, 2, 1)))
    assert (waits.spool_quota_bytes, reached.spool_quota_bytes) == (1 << 30, 2 << 30)
    assert main(["status", "--data", str(enrolled.path)]) == 0
    assert "policy layer         site-north: accepted 2, in force 2\n" in capsys.readouterr().out


def test_status_tells_how_many_receipts_are_in_doubt_while_any_are(
    enrolled: AgentFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = LayeredBench(enrolled.database.parent)
    receipts, object_id = bench.host.captures.receipts, ObjectId.new()
    receipts.keep(Receipt(object_id, bytes(32), bench.host.clock.now()), b"signed")
    said = []
    for doubted in ([], [str(object_id)]):
        receipts.doubt(doubted)
        assert main(["status", "--data", str(enrolled.path)]) == 0
        said.append("receipts in doubt    1\n" in capsys.readouterr().out)

    assert said == [False, True]


def test_status_of_a_damaged_database_says_what_the_agent_says(
    enrolled: AgentFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    enrolled.database.parent.mkdir(exist_ok=True)
    enrolled.database.write_bytes(b"no database" * 1000)

    assert main(["status", "--data", str(enrolled.path)]) == 1
    assert "the agent's database is damaged" in capsys.readouterr().err


def test_status_of_altered_bytes_says_that_nothing_is_in_force_as_the_agent_does(enrolled: AgentFolder) -> None:
    with_parts(enrolled, TYPE, SITE)
    bench = LayeredBench(enrolled.database.parent)
    bench.begin()
    with bench.host.database.transaction() as connection:
        connection.execute("UPDATE accepted_policy SET document = x'00' WHERE layer = ?", (SITE,))
    bench.restart()

    assert bench.acts_by() == {}
    assert read_status(enrolled).layers == tuple(LocalLayer(layer, 1, 0) for layer in (ORGANISATION, TYPE, SITE))
