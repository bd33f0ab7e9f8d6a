"""The whole agent: what is owed goes out under its own certificate, and what it reports of itself is so."""

import threading
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from edge_agent.agent import Agent, Settings
from edge_agent.capture.certificate import DicomCertificate
from edge_agent.capture.listener import Address
from edge_agent.capture.tls import server_context
from edge_agent.config import AgentFolder
from edge_agent.host_keys.plain import FILES
from edge_agent.host_keys.store import HostKeyStore
from edge_agent.spool.catalogue import State
from shared.clock import SystemClock
from shared.dicom.dimse import Status
from shared.fleet.state import HostState, RouteState
from shared.policy.grading import Grading
from shared.policy.routes import Route
from tests.edge_agent.capture.test_association import STORE
from tests.edge_agent.capture.wire import LAST, Peer, p_data, pdv
from tests.edge_agent.forward.bench import route
from tests.fakes.archive import archive
from tests.fakes.centre import Centre
from tests.fakes.dicom_pki import party
from tests.fakes.log import MemoryLog
from tests.threads import in_thread

DATASET = b"\x08\x00" * 9000


def running(folder: AgentFolder) -> AbstractContextManager[Agent]:
    return in_thread(Agent(Settings(folder, Address("127.0.0.1", 0, "LEADGLASS")), SystemClock(), MemoryLog()))


def publish(centre: Centre, to: Route) -> None:
    policy = replace(centre.policy(1), routes=(to,), grading=Grading("restricted", ungraded_routes=(to.name,)))
    head, layer = centre.signers.publish(policy.encode(), 1)
    centre.head, centre.layer = head.encode(), layer.encode()


def reported(centre: Centre, openable: int, waiting: int) -> bool:
    """Return whether the newest state report says that the host can open so many images, and owes so many."""
    if not centre.states:
        return False
    state: HostState = centre.states[-1]
    return (state.capture.openable_here, state.capture.routes) == (openable, (RouteState("pacs", waiting, ""),))


def capture(agent: Agent) -> None:
    assert agent.listener.port is not None
    peer = Peer(agent.listener.port)
    peer.send(STORE + p_data(pdv(DATASET, LAST)))
    assert peer.status() == Status.SUCCESS
    peer.close()


def test_an_image_goes_to_vault_and_archive_and_stays_on_the_host_until_both_have_it(
    centre: Centre, enrolled: AgentFolder, tmp_path: Path
) -> None:
    theirs = party(tmp_path / "pki", "archive")
    ours = DicomCertificate(HostKeyStore(enrolled.identity, FILES), ["127.0.0.1"], SystemClock(), MemoryLog()).ensure()
    release = threading.Event()
    with archive(tls=server_context(theirs.chain, ours.public_bytes(Encoding.PEM).decode())) as pacs:
        pacs.status_of = lambda _: 0 if release.wait(120) else 0xC000
        publish(centre, route(pacs, trust=theirs.pem))
        with running(enrolled) as agent:
            centre.wait_for(lambda: agent.listener.port is not None and reported(centre, 0, 0))
            capture(agent)
            centre.wait_for(lambda: len(centre.objects) == 1)
            centre.wait_for(lambda: reported(centre, 1, 1))
            centre.wait_for(lambda: (agent.spool.waiting(), len(list(agent.spool.rows(State.OWED)))) == (0, 1))
            release.set()
            centre.wait_for(lambda: reported(centre, 0, 0))
            centre.wait_for(lambda: agent.spool.held_bytes() == 0)
            centre.wait_for(lambda: any(b"route.delivered" in record.public for record in centre.audit))
        assert pacs.stored == [("1.2.3", DATASET)]
    (name,) = centre.objects
    assert centre.open(name)[0] == DATASET


def test_an_archive_that_has_it_first_does_not_take_it_from_the_vault(centre: Centre, enrolled: AgentFolder) -> None:
    centre.vault_status = 503
    with archive() as pacs:
        publish(centre, route(pacs))
        with running(enrolled) as agent:
            centre.wait_for(lambda: agent.listener.port is not None)
            capture(agent)
            centre.wait_for(lambda: pacs.stored == [("1.2.3", DATASET)])
            centre.wait_for(lambda: reported(centre, 0, 0))
            assert agent.spool.waiting() == 1
            centre.vault_status = 0
            agent.spool._on_ready()
            centre.wait_for(lambda: len(centre.objects) == 1)
            centre.wait_for(lambda: agent.spool.held_bytes() == 0)


def test_what_is_owed_is_found_again_after_a_restart(centre: Centre, enrolled: AgentFolder) -> None:
    with archive() as pacs:
        pacs.status_of = lambda _: 0xA700
        publish(centre, route(pacs))
        with running(enrolled) as agent:
            centre.wait_for(lambda: agent.listener.port is not None)
            capture(agent)
            centre.wait_for(lambda: len(list(agent.spool.rows(State.OWED))) == 1)
        pacs.status_of = lambda _: 0
        with running(enrolled) as agent:
            assert len(list(agent.spool.rows(State.OWED))) == 1
            agent.forwards._queue.retry("pacs", "engineer")
            agent._bells.forward.ring()
            centre.wait_for(lambda: pacs.stored == [("1.2.3", DATASET)])
            centre.wait_for(lambda: agent.spool.held_bytes() == 0)
