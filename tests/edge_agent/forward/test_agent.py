"""The whole agent: what is owed goes out under its own certificate, and what it reports of itself is so."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from edge_agent.agent import Agent, Settings
from edge_agent.capture.certificate import DicomCertificate
from edge_agent.capture.listener import Address
from edge_agent.capture.tls import server_context
from edge_agent.config import AgentFolder, load_identity
from shared.clock import SystemClock
from shared.fleet.state import HostState, RouteState
from shared.identity import ObjectId
from shared.policy.document import KeyPurpose, PolicyDocument
from shared.policy.routes import Route
from shared.sealing import object_file
from shared.sealing.binding import Binding
from shared.sealing.open import StoredObject, unwrap
from shared.sealing.seal import ObjectSealer, Sealing
from tests.edge_agent.forward.bench import NOT_EVALUATED, route
from tests.fakes.archive import CT, EXPLICIT, archive
from tests.fakes.centre import Centre
from tests.fakes.dicom_pki import party
from tests.fakes.log import MemoryLog


@contextmanager
def running(folder: AgentFolder) -> Iterator[Agent]:
    agent = Agent(Settings(folder, Address("127.0.0.1", 0, "LEADGLASS")), SystemClock(), MemoryLog())
    stop = threading.Event()
    thread = threading.Thread(target=agent.run, args=(stop,))
    thread.start()
    try:
        yield agent
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def publish(centre: Centre, to: Route) -> PolicyDocument:
    policy = replace(centre.policy(1), routes=(to,))
    head, layer = centre.signers.publish(policy.encode(), 1)
    centre.head, centre.layer = head.encode(), layer.encode()
    return policy


def owe(agent: Agent, folder: AgentFolder, policy: PolicyDocument, centre: Centre, dataset: bytes) -> None:
    """Put one image where the vault would not take it, so that only its archive is left, and owe it."""
    identity, out = load_identity(folder), BytesIO()
    binding = Binding(ObjectId.new(), identity.config.host_id, bytes(32), EXPLICIT)
    sealer = ObjectSealer(out, binding)
    sealer.update(dataset)
    keys = policy.key_for(KeyPurpose.DATA, "restricted"), policy.key_for(KeyPurpose.INDEX)
    sealed = sealer.finish(
        Sealing("restricted", *keys, 1, SystemClock().now(), ("pacs",)), NOT_EVALUATED, identity.signer
    )
    (folder.spool / "refused" / f"{1:020}-{binding.object_id}").write_bytes(out.getvalue())
    parts = object_file.parse(out)
    stored = StoredObject(binding.object_id, binding.encode(), parts.wrap, sealed.signed_record)
    forward = agent.forwards.prepare(
        policy, ("pacs",), binding, unwrap(stored, centre.keys.data), sop_class_uid=CT, sop_instance_uid="1.2.3"
    )
    assert forward is not None
    with agent.database.transaction() as connection:
        agent.forwards.add(connection, forward)


def test_the_agent_forwards_under_its_own_certificate_and_reports_what_it_can_open(
    centre: Centre, enrolled: AgentFolder, tmp_path: Path
) -> None:
    theirs = party(tmp_path / "pki", "archive")
    ours = DicomCertificate(enrolled.dicom, ["127.0.0.1"], SystemClock(), MemoryLog()).ensure()
    release = threading.Event()
    with archive(tls=server_context(theirs.chain, ours.public_bytes(Encoding.PEM).decode())) as pacs:
        pacs.status_of = lambda _: 0 if release.wait(30) else 0xC000
        policy = publish(centre, route(pacs, trust=theirs.pem))
        with running(enrolled) as agent:

            def reported(openable: int, waiting: int) -> bool:
                state: HostState = centre.states[-1]
                return (state.capture.openable_here, state.capture.routes) == (
                    openable, (RouteState("pacs", waiting, ""),)
                )  # fmt: skip

            centre.wait_for(lambda: centre.states and reported(0, 0))
            owe(agent, enrolled, policy, centre, b"\x08\x00" * 9000)
            centre.wait_for(lambda: reported(1, 1))
            release.set()
            centre.wait_for(lambda: reported(0, 0))
            centre.wait_for(lambda: any(b"route.delivered" in record.public for record in centre.audit))
        assert pacs.stored == [("1.2.3", b"\x08\x00" * 9000)]
