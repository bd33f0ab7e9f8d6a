"""A vault with routes: a policy that people signed, one host, and senders that run when a test says so."""

import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from control_plane.http.tls import TlsIdentity
from control_plane.keys.store import POLICY_ONLINE
from control_plane.policy.authoring import make_root_and_targets
from control_plane.policy.publisher import PolicyPublisher
from control_plane.policy.verified import VerifiedPolicy
from control_plane.routes.connect import connected
from control_plane.routes.image import ImageSource
from control_plane.routes.intake import RouteIntake
from control_plane.routes.overview import RouteOverview
from control_plane.routes.queue import RouteQueue
from control_plane.routes.service import RouteService
from control_plane.vault.opening import VaultOpener
from shared.audit.events import Event, Participant
from shared.audit.record import AuditRecord
from shared.dicom.requestor import Patience
from shared.identity import CONTROL_PLANE
from shared.policy.routes import Peer, Route, Via
from shared.routes.peer import PeerStream
from shared.routes.sender import Images, RouteSender, Services
from tests.control_plane.fleet.pki import TestCa
from tests.control_plane.policy.centre import PERSON, POLICY, Centre, credential_for
from tests.control_plane.vault.bench import ENTRY, Bench, SealedImage
from tests.fakes.archive import Archive

CENTRE = Participant("service", CONTROL_PLANE, True)
Connect: TypeAlias = Callable[[Peer], AbstractContextManager[PeerStream]]
PATIENCE = Patience(associate_s=20, answer_s=20, send_s=20, release_s=5)


@dataclass(frozen=True)
class TlsFiles:
    """A server's certificate, key and whom it trusts, as PEM files, and what its clients trust."""

    certificate: Path
    private_key: Path
    trusted: Path
    trust: str

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.private_key)
        context.load_verify_locations(self.trusted)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def tls_files(folder: Path, server: TestCa, clients: TestCa) -> TlsFiles:
    folder.mkdir(parents=True, exist_ok=True)
    identity = server.server()
    certificate, key, trusted = folder / "server.pem", folder / "server.key", folder / "clients.pem"
    certificate.write_bytes(identity.certificate)
    key.write_bytes(identity.key)
    trusted.write_bytes(clients.pem)
    return TlsFiles(certificate, key, trusted, server.pem.decode())


class RouteBench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vault = Bench(folder)
        self.ca = TestCa()  # in place of the centre's own, whose clock stands still while TLS reads the machine's
        shown = self.ca.centre()
        self.identity = TlsIdentity(shown.certificate, shown.key)
        self.host = self.vault.enrol()
        self.vault.keys.create_p256(POLICY_ONLINE)
        credential = credential_for(self.vault.keys)
        self._build()
        online = self.vault.keys.p256(POLICY_ONLINE).public_key()
        self.publisher.establish(*make_root_and_targets([credential.signer], online, self.vault.clock), PERSON)
        self.centre = Centre(self.vault.database, self.vault.keys, self.vault.clock, credential, self.publisher)  # type: ignore[arg-type]  # a clock is a clock
        self.number = 0

    def _build(self) -> None:
        vault = self.vault
        self.publisher = PolicyPublisher(vault.database, vault.keys, vault.journal, vault.clock)
        self.policy = VerifiedPolicy(vault.database, vault.keys, self.publisher)
        self.queue = RouteQueue(vault.database, vault.journal, vault.clock)
        self.images = ImageSource(vault.database, vault.evidence, vault.index, vault.opener)
        self.overview = RouteOverview(vault.database, self.policy)
        self.service = RouteService(self.policy, self.queue, self.sender, vault.clock)
        intake = RouteIntake(self.policy, self.queue, self.service.wake)
        self.intake = vault.intake_with(ways_out=intake)

    def restart(self) -> None:
        """Go on as another process would, from what is on the disk. The clock keeps its time."""
        clock, self.vault.clock = self.vault.clock, self.vault.clock
        self.vault = Bench(self.folder)
        self.vault.clock.advance(clock.now() - self.vault.clock.now())
        self._build()

    def services(
        self, *, images: Images | None = None, connect: Connect | None = None, patience: Patience = PATIENCE
    ) -> Services:
        return Services(
            CENTRE, self.queue, images or self.images, connect or (lambda peer: connected(peer, self.identity)),
            self.vault.clock, lambda: 1.0, patience,
        )  # fmt: skip

    def sender(self, **other: Any) -> RouteSender:
        return RouteSender(self.services(**other))

    def images_with(self, opener: VaultOpener) -> ImageSource:
        return ImageSource(self.vault.database, self.vault.evidence, self.vault.index, opener)

    def publish(self, *routes: Route) -> int:
        version = self.publisher.publish(self.centre.sign(replace(POLICY, routes=routes)), PERSON)
        self.queue.settle([route.name for route in routes])
        return version

    def store(self, dataset: bytes = b"image!" * 5000, *, routes: tuple[str, ...] = ("pacs",), **other: Any) -> "Sent":
        """Have the vault receive one image that its host graded to go on."""
        self.number += 1
        uid = f"1.2.3.{self.number}"
        entry = replace(other.pop("entry", ENTRY), sop_instance_uid=other.pop("uid", uid))
        if "sop_class_uid" in other:
            entry = replace(entry, sop_class_uid=other.pop("sop_class_uid"))
        sealed = self.host.seal(dataset, entry, routes=routes, **other)
        self.vault.receive(sealed, intake=self.intake)
        return Sent(sealed, entry.sop_instance_uid)

    def work(self, route: Route, *, sender: RouteSender | None = None) -> Any:
        return (sender or self.sender()).work(route)

    def states(self) -> list[str]:
        return [row.state for row in self.vault.rows("SELECT state FROM route_items ORDER BY number")]

    def whys(self) -> list[str]:
        return [row.why for row in self.vault.rows("SELECT why FROM route_items ORDER BY number")]

    def records(self, event: Event) -> list[AuditRecord]:
        rows = self.vault.rows("SELECT public FROM audit_records WHERE source = 'control-plane' ORDER BY seq")
        read = (AuditRecord.parse(row.public) for row in rows)
        return [record for record in read if record.event is event]


@dataclass(frozen=True)
class Sent:
    sealed: SealedImage
    uid: str

    @property
    def arrived(self) -> tuple[str, bytes]:
        return self.uid, self.sealed.dataset


def route(
    pacs: Archive | int, *, name: str = "pacs", trust: str = "", server_name: str = "", via: Via = Via.CENTRE
) -> Route:
    port = pacs if isinstance(pacs, int) else pacs.port
    return Route(name, via, "LEADGLASS", Peer("PACS", "127.0.0.1", port, trust, server_name))
