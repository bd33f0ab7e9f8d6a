"""The whole agent in this process, against a centre and a real broker on loopback."""

import base64
import itertools
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.cobblestone import Cobblestone256Encryptor
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from pynetdicom import _config
from pynetdicom.ae import ApplicationEntity

from edge_agent.agent import Agent, AlreadyRunning, Settings, locked
from edge_agent.capture.listener import Address
from edge_agent.commitment.requests import CommitmentRequest, Reference
from edge_agent.config import AgentFolder
from edge_agent.enrol.enroller import enrol
from edge_agent.export_folder.classify import Stamp
from edge_agent.export_folder.ledger import Entry, State
from provisioning.demo import modality
from provisioning.demo.processes import wait_until
from shared.audit.events import Event, EventName
from shared.audit.record import AuditRecord
from shared.clock import SystemClock
from shared.fleet import receipt
from shared.fleet.budget import NotCounted
from shared.fleet.state import HostState
from shared.identity import ObjectId, RandomBytes
from shared.policy.bundle import HEAD_TOPIC, layer_topic, state_topic
from shared.policy.document import ORGANISATION
from shared.sealing.seal import EncryptorFactory
from tests.edge_agent.capture.images import Image, load
from tests.fakes.centre import Centre
from tests.fakes.log import MemoryLog
from tests.fakes.mosquitto import broker
from tests.fakes.ports import free_port
from tests.threads import in_thread

IMAGES = [load(name) for name in ("CT_small.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "rtplan.dcm")]


def running(
    folder: AgentFolder,
    log: MemoryLog,
    random_bytes: "RandomBytes | None" = None,
    encryptor: EncryptorFactory = Cobblestone256Encryptor,
    ready_file: Path | None = None,
) -> AbstractContextManager[Agent]:
    more: dict[str, Any] = {"random_bytes": random_bytes} if random_bytes else {}
    settings = Settings(folder, Address("127.0.0.1", 0, "LEADGLASS"), ready_file)
    return in_thread(Agent(settings, SystemClock(), log, encryptor=encryptor, **more))


def send(agent: Agent, image: Image, calling: str = "CT1") -> "int | None":
    """Return the status, None if the association was refused."""
    assert agent.listener.port is not None
    entity = ApplicationEntity(calling)
    entity.add_requested_context(image.sop_class, image.transfer_syntax)
    association, rejection = modality.associate(entity, "127.0.0.1", agent.listener.port, "LEADGLASS")
    if rejection is not None:
        return None
    status = association.send_c_store(image.path)
    association.release()
    return int(status.Status)


def wait_for_listener(centre: Centre, agent: Agent) -> None:
    centre.wait_for(lambda: agent.listener.port is not None)


@pytest.fixture(autouse=True)
def as_it_lies_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)


def events(centre: Centre) -> list[EventName]:
    return [AuditRecord.parse(record.public).event for record in centre.audit]


def test_from_the_modality_to_the_vault(centre: Centre, enrolled: AgentFolder) -> None:
    centre.publish(1)
    with running(enrolled, MemoryLog()) as agent:
        wait_for_listener(centre, agent)
        statuses = [send(agent, image) for image in IMAGES]
        refused = send(agent, IMAGES[0], "STRANGER")
        centre.wait_for(lambda: len(centre.objects) == len(IMAGES))
        centre.wait_for(lambda: events(centre).count(Event.IMAGE_DELIVERED) == len(IMAGES))
        centre.wait_for(lambda: Event.ASSOCIATION_REFUSED in events(centre))

    assert statuses == [0] * len(IMAGES)
    assert refused is None
    for image, object_id in zip(IMAGES, centre.objects, strict=True):
        assert centre.open(object_id)[0] == image.dataset
    seen = events(centre)
    assert seen.count(Event.IMAGE_CAPTURED) == len(IMAGES)
    assert seen.count(Event.ASSOCIATION_REFUSED) == 1
    assert seen[0] is Event.AGENT_STARTED


def test_what_the_vault_took_right_before_it_was_lost_is_captured_again_after_a_restore(
    centre: Centre, enrolled: AgentFolder
) -> None:
    """The restored centre confirms the record of that delivery as a new one, and so hides that it lost the image."""
    centre.publish(1)
    centre.reads = receipt.MEMBER
    with running(enrolled, MemoryLog()) as agent:
        wait_for_listener(centre, agent)
        centre.batch_status = 503
        assert send(agent, IMAGES[0]) == 0
        centre.wait_for(lambda: len(centre.objects) == 1)
        (lost,) = map(ObjectId.parse, centre.objects)
        assert wait_until(lambda: agent.captures.receipts.holds(lost), 60) is not None
        centre.objects.clear()
        centre.batch_status, centre.restored = 0, receipt.restore_mark(["once"])
        assert wait_until(lambda: not agent.captures.receipts.mentions(lost), 60) is not None

        assert send(agent, IMAGES[0]) == 0

        centre.wait_for(lambda: len(centre.objects) == 1 and events(centre).count(Event.IMAGE_CAPTURED) == 2)


def test_what_a_commitment_or_an_export_folder_goes_by_is_not_forgotten_and_the_rest_is(
    centre: Centre, enrolled: AgentFolder
) -> None:
    centre.publish(1)
    with running(enrolled, MemoryLog()) as agent:
        wait_for_listener(centre, agent)
        for image in IMAGES:
            assert send(agent, image) == 0
        centre.wait_for(lambda: events(centre).count(Event.IMAGE_DELIVERED) == len(IMAGES))
        asked, in_folder, *others = (ObjectId.parse(name) for name in centre.objects)
        question = Reference(IMAGES[0].sop_class, IMAGES[0].sop_instance)
        agent._commitments.add("CT1", CommitmentRequest("1.2.3", (question,)), SystemClock().now())
        agent._ledger.put(b"name", "CT1", Stamp(1, 2, 3, 4, 5), Entry(b"", State.RECEIPTED, in_folder))
        vars(agent.captures)["_most_delivered"] = 1
        agent.database.create("DELETE FROM spooled")  # as when their segment has been written over

        agent.captures.forget_old(agent._named_elsewhere)

        receipts = agent.captures.receipts
        assert [receipts.holds(each) for each in (asked, in_folder, *others)] == [True, True, False, True]


def test_a_host_without_policy_listens_only_once_it_has_one(centre: Centre, enrolled: AgentFolder) -> None:
    with running(enrolled, MemoryLog()) as agent:
        centre.wait_for(lambda: len(centre.states) > 0)
        before = (agent.listener.port, centre.states[0])
        centre.publish(1)
        for part in agent._parts:
            part.bell.ring()
        centre.wait_for(lambda: any(state.listening for state in centre.states))

    assert before[0] is None
    assert (before[1].policy_in_force, before[1].listening) == (0, False)


def test_only_a_centre_that_says_that_it_reads_it_is_told_what_agent_and_guard_take(
    centre: Centre, enrolled: AgentFolder
) -> None:
    with running(enrolled, MemoryLog()) as agent:
        centre.wait_for(lambda: len(centre.states) > 0)
        centre.reads = "budget"
        for part in agent._parts:
            part.bell.ring()
        centre.wait_for(lambda: centre.states[-1].budget is not None)

    assert centre.states[0].budget is None
    assert isinstance(centre.states[-1].budget, NotCounted), "these tests run in no slice of ours"


def test_records_go_packed_to_a_centre_that_says_that_it_reads_that(centre: Centre, enrolled: AgentFolder) -> None:
    with running(enrolled, MemoryLog()) as agent:
        centre.wait_for(lambda: len(centre.states) > 0 and len(centre.audit) > 0)
        packed_before = centre.packed_batches
        centre.reads = "budget, packed-audit-batch"
        centre.publish(1)
        for part in agent._parts:
            part.bell.ring()
        centre.wait_for(lambda: centre.packed_batches > 0)

    assert packed_before == 0


def test_a_ready_file_that_cannot_be_written_keeps_no_port_closed(
    centre: Centre, enrolled: AgentFolder, tmp_path: Path
) -> None:
    centre.publish(1)
    log = MemoryLog()
    with running(enrolled, log, ready_file=tmp_path / "no such folder" / "ready") as agent:
        wait_for_listener(centre, agent)
        assert send(agent, IMAGES[0]) == 0
    assert ("agent.no-ready-file", {"why": "FileNotFoundError"}) in log.events


def test_captures_go_on_while_the_centre_is_away_and_arrive_when_it_is_back(
    centre: Centre, enrolled: AgentFolder
) -> None:
    centre.publish(1)
    with running(enrolled, MemoryLog()) as agent:
        wait_for_listener(centre, agent)
    port = centre.host_door.server_address[1]
    centre.stop()
    with running(enrolled, MemoryLog()) as agent:
        while agent.listener.port is None:
            threading.Event().wait(0.01)
        statuses = [send(agent, image) for image in IMAGES]
        waited_s = wait_until(lambda: agent.spool.waiting() == len(IMAGES), 60)
    centre.start(port)
    with running(enrolled, MemoryLog()):
        centre.wait_for(lambda: len(centre.objects) == len(IMAGES))

    assert statuses == [0] * len(IMAGES)
    assert waited_s is not None


def test_two_agents_never_share_a_folder(enrolled: AgentFolder) -> None:
    with locked(enrolled), pytest.raises(AlreadyRunning), locked(enrolled):
        pass


# What names or shows the patient in these images, as it lies in their bytes.
IDENTITIES = (b"CompressedSamples^CT1", b"1CT1", b"CompressedSamples^MR1", b"4MR1", b"Last^First^mid^pre", b"id00001")


def everything_on_disk(folder: AgentFolder) -> dict[Path, bytes]:
    """Return what lies there, without what an agent that runs takes away meanwhile."""
    found = {}
    for path in folder.path.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file():
                found[path] = path.read_bytes()
    return found


def capture_while_the_vault_is_away(centre: Centre, enrolled: AgentFolder, **how: Any) -> tuple[MemoryLog, list[bytes]]:
    """Return the log and the whole disk, once with the images in the spool and once after their delivery."""
    centre.publish(1)
    centre.vault_status = 503
    log, disks = MemoryLog(), []
    with running(enrolled, log, **how) as agent:
        wait_for_listener(centre, agent)
        assert [send(agent, image) for image in IMAGES] == [0] * len(IMAGES)
        disks.append(b"".join(everything_on_disk(enrolled).values()))
    centre.vault_status = 0
    if not how:
        with running(enrolled, log):
            centre.wait_for(lambda: events(centre).count(Event.IMAGE_DELIVERED) == len(IMAGES))
        disks.append(b"".join(everything_on_disk(enrolled).values()))
    return log, disks


def test_no_identity_lies_anywhere_on_the_agent_s_disk_or_in_its_log(centre: Centre, enrolled: AgentFolder) -> None:
    log, disks = capture_while_the_vault_is_away(centre, enrolled)

    uids = [image.sop_instance.encode() for image in IMAGES]
    for secret in (*IDENTITIES, *uids):
        assert not any(secret in disk for disk in disks), secret
        assert secret.decode() not in str(log.events)
        assert not any(secret.decode() in str(path) for path in everything_on_disk(enrolled))
    assert not any(image.dataset[-64:] in disk for disk in disks for image in IMAGES)


class PassThrough:
    """Seals nothing. Only a test can put it in, through the constructor."""

    def __init__(self, key: bytes, context: bytes) -> None: ...

    def update_into(self, data: Any, buf: Any, /) -> int:
        memoryview(buf)[: len(data)] = data
        return len(data)

    def finalize(self) -> bytes:
        return b""


def test_the_search_for_identities_finds_them_when_nothing_is_sealed(centre: Centre, enrolled: AgentFolder) -> None:
    _, disks = capture_while_the_vault_is_away(centre, enrolled, encryptor=PassThrough)

    assert [secret for secret in IDENTITIES if secret not in disks[0]] == []


class KnownRandom:
    """Random bytes that a test can recognise, different at each call."""

    def __init__(self) -> None:
        self.given: list[bytes] = []
        self._count = itertools.count(1)

    def __call__(self, size: int) -> bytes:
        number = next(self._count)
        drawn = bytes((number * 37 + i * 11 + 1) % 256 for i in range(size - 2)) + number.to_bytes(2)
        self.given.append(drawn)
        return drawn


def test_nothing_on_the_agent_s_disk_opens_a_delivered_image(centre: Centre, enrolled: AgentFolder) -> None:
    known = KnownRandom()
    centre.publish(1)
    with running(enrolled, MemoryLog(), known) as agent:
        wait_for_listener(centre, agent)
        for image in IMAGES:
            send(agent, image)
        centre.wait_for(lambda: events(centre).count(Event.IMAGE_DELIVERED) == len(IMAGES))
        disk = b"".join(everything_on_disk(enrolled).values())

    data_keys = [key for key in known.given if len(key) == 32]
    assert len(data_keys) >= len(IMAGES)
    used = {centre.data_key(object_id) for object_id in centre.objects}
    assert used <= set(data_keys)
    for key in used:
        for form in (key, key.hex().encode(), base64.b64encode(key), base64.urlsafe_b64encode(key), key[::-1]):
            assert form not in disk


@pytest.fixture
def mqtt_centre(tmp_path: Path) -> Iterator[Centre]:
    folder = tmp_path / "centre"
    folder.mkdir()
    centre = Centre(folder)
    centre.mqtt_port = free_port()
    centre.start()
    with broker(tmp_path / "broker", centre.authority, folder / "server.pem", centre.mqtt_port):
        yield centre
    centre.stop()


@contextmanager
def publisher(centre: Centre) -> Iterator[Client]:
    """The centre's own connection to the broker; reports of hosts end up in `centre.states`."""
    client = Client(CallbackAPIVersion.VERSION2, client_id="control-plane", protocol=MQTTProtocolVersion.MQTTv5)
    chain = str(centre.folder / "server.pem")
    client.tls_set(str(centre.folder / "ca.pem"), chain, chain)

    def arrived(_client: Client, _data: Any, message: Any) -> None:
        host = message.topic.split("/")[3]
        centre.take_state(host, message.payload)
        with centre.changed:
            centre.changed.notify_all()

    def subscribe(client: Client, *_: Any) -> None:
        client.subscribe(state_topic("+"), qos=1)

    listens = threading.Event()
    client.on_connect = subscribe
    client.on_subscribe = lambda *_: listens.set()
    client.on_message = arrived
    assert centre.mqtt_port is not None
    client.connect("127.0.0.1", centre.mqtt_port)
    client.loop_start()
    assert listens.wait(30)
    yield client
    client.disconnect()
    client.loop_stop()


def push(client: Client, head: bytes, layer: bytes) -> None:
    for topic, payload in ((layer_topic(ORGANISATION), layer), (HEAD_TOPIC, head)):
        client.publish(topic, payload, qos=1, retain=True).wait_for_publish(5)


def test_policy_comes_by_mqtt_and_the_report_goes_back_the_same_way(mqtt_centre: Centre, tmp_path: Path) -> None:
    centre, folder = mqtt_centre, AgentFolder(tmp_path / "agent")
    enrol(folder, centre.enrol_url, centre.issue_code(), "CT 2")
    bundles = centre.publish(1), centre.publish(2)
    centre.head = centre.layer = b""

    def reported(condition: Any) -> HostState:
        centre.wait_for(lambda: any(condition(state) for state in centre.states))
        return next(state for state in centre.states if condition(state))

    with publisher(centre) as client, running(folder, MemoryLog()):
        reported(lambda state: state.number >= 1)
        push(client, *bundles[0])
        first = reported(lambda state: state.policy_in_force == 1)
        push(client, *bundles[1])
        reported(lambda state: state.policy_in_force == 2)
        push(client, *bundles[0])
        replayed = reported(lambda state: state.policy_error.startswith("PolicyRollback"))
        over_https = [request for request in centre.requests if request == "POST /api/v1/state"]

    assert first.policy_accepted == 1
    assert (replayed.policy_accepted, replayed.policy_in_force) == (2, 2)
    assert len(over_https) <= 1

    with publisher(centre), running(folder, MemoryLog()):
        # The broker still retains the older policy.
        again = reported(lambda state: state.number > replayed.number and bool(state.policy_error))
    assert (again.policy_accepted, again.policy_in_force) == (2, 2)


def test_asks_at_its_start_how_far_the_centres_log_is(centre: Centre, tmp_path: Path) -> None:
    folder = AgentFolder(tmp_path / "agent")
    enrol(folder, centre.enrol_url, centre.issue_code(), "CT 2")
    with running(folder, MemoryLog()):
        centre.wait_for(lambda: "POST /api/v1/log/checkpoint" in centre.requests)


def test_a_message_that_cannot_be_read_does_not_end_the_connection(mqtt_centre: Centre, tmp_path: Path) -> None:
    centre, folder = mqtt_centre, AgentFolder(tmp_path / "agent")
    enrol(folder, centre.enrol_url, centre.issue_code(), "CT 2")
    bundles = centre.publish(1)
    centre.head = centre.layer = b""
    log = MemoryLog()
    with publisher(centre) as client, running(folder, log):
        centre.wait_for(lambda: len(centre.states) > 0)
        for noise in (b"", b"\xff\xfe", b"{" * 5000):
            push(client, noise, noise)
        push(client, *bundles)
        centre.wait_for(lambda: any(state.policy_in_force == 1 for state in centre.states))

    assert log.names().count("mqtt.connected") == 1
