"""A host that owes archives: real key, rows and journal, a folder of sealed objects, senders that run when told to."""

import random
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

from edge_agent.capture.tls import client_context
from edge_agent.forward.connect import connected
from edge_agent.forward.forwarder import Forwarder
from edge_agent.forward.forwards import Forwards
from edge_agent.forward.image import SpoolImages
from edge_agent.forward.key import ForwardingKey
from edge_agent.forward.queue import ForwardQueue
from edge_agent.host_keys.plain import FILES
from edge_agent.host_keys.store import HostKeyStore
from edge_agent.parts import Bell
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.record import AuditRecord
from shared.dicom.requestor import Patience
from shared.identity import ObjectId
from shared.policy.document import KeyPurpose
from shared.policy.routes import Peer, Route, Via
from shared.routes.peer import PeerStream
from shared.routes.sender import Images, RouteSender, Services
from shared.sealing import object_file
from shared.sealing.binding import Binding, hash_sop_instance
from shared.sealing.index import IndexEntry
from shared.sealing.object_file import ObjectParts
from shared.sealing.open import StoredObject, unwrap
from shared.sealing.seal import ObjectSealer, Sealing, StreamSink
from tests.fakes.archive import CT, EXPLICIT, Archive
from tests.fakes.host import Host
from tests.fakes.signers import document
from tests.threads import in_thread

PATIENCE = Patience(associate_s=20, answer_s=20, send_s=20, release_s=5)
NOT_EVALUATED = IndexEntry(False, *[""] * 9)


class TinySpool:
    """A folder with a file for each sealed object."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def path(self, object_id: ObjectId) -> Path:
        return self._folder / str(object_id)

    def open(self, object_id: ObjectId) -> BufferedReader | None:
        path = self.path(object_id)
        return path.open("rb") if path.exists() else None

    def parts(self, object_id: ObjectId) -> ObjectParts:
        return object_file.parse(BytesIO(self.path(object_id).read_bytes()))

    def with_body(self, object_id: ObjectId, body: bytes) -> None:
        """Put another body between the parts that the host signed."""
        parts = self.parts(object_id)
        tail = object_file.tail(len(body), wrap=parts.wrap, index=parts.index, record=parts.record)
        self.path(object_id).write_bytes(object_file.head(parts.binding) + body + tail)

    def flip(self, object_id: ObjectId) -> None:
        """Change the last bit of the sealed body."""
        parts, path = self.parts(object_id), self.path(object_id)
        data = bytearray(path.read_bytes())
        data[parts.body_offset + parts.body_bytes - 1] ^= 1
        path.write_bytes(data)


@dataclass(frozen=True)
class Sent:
    object_id: ObjectId
    uid: str
    dataset: bytes

    @property
    def arrived(self) -> tuple[str, bytes]:
        return self.uid, self.dataset


class ForwardBench:
    """`identity` is our certificate for TLS. `queue` is what a test replaces to see what deleting a box is good for."""

    def __init__(
        self,
        folder: Path,
        *,
        host: Host | None = None,
        identity: Path | None = None,
        queue: type[ForwardQueue] = ForwardQueue,
    ) -> None:
        self.folder, self.identity, self._queue = folder, identity, queue
        self.host = host or Host(folder)
        self.spool = TinySpool(folder / "sealed")
        self.version = self.number = 0
        self.let_go = threading.Event()
        self._open()

    def _open(self) -> None:
        host = self.host
        self.bell = Bell()
        self.key = ForwardingKey(HostKeyStore(self.folder, FILES))
        self.queue = self._queue(host.database, host.journal, host.host_id, host.clock, self.bell.ring)
        self.forwards = Forwards(self.key, self.queue)
        self.forwards.on_let_go(self.let_go.set)
        self.images = SpoolImages(self.spool, self.queue.box, self.key, host.signer.public)

    def restart(self) -> None:
        """Go on as another process would, from what is on the disk."""
        self.host.restart()
        self._open()

    def publish(self, *routes: Route) -> None:
        self.version += 1
        host = self.host
        policy = replace(document(self.version, host.keys, host.receipts.public), routes=routes)
        host.act_by(policy)

    def capture(
        self,
        dataset: bytes = b"image!" * 5000,
        *,
        routes: tuple[str, ...] = ("pacs",),
        sop_class_uid: str = CT,
        transfer_syntax: str = EXPLICIT,
        uid: str = "",
        add: bool = True,
    ) -> Sent:
        """Seal one image, spool it, and record it together with what is owed, as a capture does."""
        self.number += 1
        uid = uid or f"1.2.3.{self.number}"
        host, out, policy = self.host, BytesIO(), self.host.store.in_force()
        assert policy is not None
        binding = Binding(ObjectId.new(), host.host_id, hash_sop_instance(bytes(32), uid), transfer_syntax)
        sealer = ObjectSealer(StreamSink(out), binding)
        sealer.update(dataset)
        keys = policy.key_for(KeyPurpose.DATA, "restricted"), policy.key_for(KeyPurpose.INDEX)
        sealing = Sealing("restricted", *keys, policy.version, host.clock.now(), routes)
        sealer.finish(sealing, NOT_EVALUATED, host.signer)
        object_id = binding.object_id
        self.spool.path(object_id).write_bytes(out.getvalue())
        if add:
            self.add(object_id, uid, routes, sop_class_uid)
        return Sent(object_id, uid, dataset)

    def add(self, object_id: ObjectId, uid: str, routes: tuple[str, ...], sop_class_uid: str = CT) -> None:
        policy, parts = self.host.store.in_force(), self.spool.parts(object_id)
        assert policy is not None
        forward = self.forwards.prepare(
            policy, routes, parts.binding, self.data_key(object_id), sop_class_uid=sop_class_uid, sop_instance_uid=uid
        )
        what = (Subject("object", str(object_id)),)
        who = (Participant("host", str(self.host.host_id), True),)
        with self.host.database.transaction() as connection:
            self.host.journal.record(Happening(Event.IMAGE_CAPTURED, Action.CREATE, Outcome.SUCCESS, who, what))
            if forward is not None:
                self.forwards.add(connection, forward)

    def data_key(self, object_id: ObjectId) -> bytes:
        parts = self.spool.parts(object_id)
        stored = StoredObject(object_id, parts.binding.encode(), parts.wrap, parts.record)
        return unwrap(stored, self.host.keys.data)

    def connect(self, peer: Peer) -> AbstractContextManager[PeerStream]:
        return connected(peer, lambda trust: client_context(self.identity or Path(), trust))

    def sender(
        self,
        *,
        images: Images | None = None,
        connect: Callable[[Peer], AbstractContextManager[PeerStream]] | None = None,
    ) -> RouteSender:
        who = Participant("host", str(self.host.host_id), True)
        return RouteSender(
            Services(
                who, self.queue, images or self.images, connect or self.connect, self.host.clock, lambda: 1.0, PATIENCE
            )
        )

    def work(self, route: Route, **other: Any) -> Any:
        return self.sender(**other).work(route)

    def running(self, **other: Any) -> AbstractContextManager[Forwarder]:
        forwarder = Forwarder(
            self.queue,
            self.images,
            self.connect,
            host_id=self.host.host_id,
            policy=self.host.store.in_force,
            clock=self.host.clock,
            log=self.host.log,
            bell=self.bell,
            patience=PATIENCE,
            **other,
        )
        return in_thread(forwarder, forwarder.bell.ring)

    def rows(self, query: str) -> list[Any]:
        with self.host.database.transaction() as connection:
            return connection.execute(query).fetchall()

    def states(self) -> list[str]:
        return [state for (state,) in self.rows("SELECT state FROM forward ORDER BY number")]

    def whys(self) -> list[str]:
        return [why for (why,) in self.rows("SELECT why FROM forward ORDER BY number")]

    def records(self, event: Event) -> list[AuditRecord]:
        return [record for record in self.host.records() if record.event is event]


def route(
    pacs: Archive | int, *, name: str = "pacs", trust: str = "", server_name: str = "", via: Via = Via.HOST
) -> Route:
    port = pacs if isinstance(pacs, int) else pacs.port
    return Route(name, via, "LEADGLASS", Peer("PACS", "127.0.0.1", port, trust, server_name))


def pixels(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)
