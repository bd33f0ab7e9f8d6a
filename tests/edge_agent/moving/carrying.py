"""Hosts of one authority, and exports that are carried from one to the other, altered on the way or not."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from edge_agent.moving.exporter import Exported, SpoolExporter
from edge_agent.moving.folder import LIST, MANIFEST, GivenExport, NewExport
from edge_agent.moving.importer import Imported, SpoolImporter
from edge_agent.moving.judge import certified
from edge_agent.moving.manifest import Manifest, PartList, sign_manifest
from edge_agent.moving.spools import HostSpool, LeavingSpool, TakingSpool
from edge_agent.moving.store import MovedStore
from shared.enrolment.chain import Trust
from shared.identity import HostId, ObjectId
from shared.sealing import object_file
from shared.signing import EvidencePublicKey, SoftwareSigner
from tests.fakes.centre import Authority
from tests.fakes.host import Host

ManifestVerifier = Callable[[bytes, EvidencePublicKey], Manifest]


@dataclass
class Carrier:
    """A host, and what an engineer does there."""

    folder: Path
    authority: Authority
    host: Host
    captured: int = 0

    def __post_init__(self) -> None:
        key = self.host.signer.public.key
        self.certificate = self.authority.issue(str(self.host.host_id), "evidence", key)
        self.host.put_in_force()

    @classmethod
    def new(cls, folder: Path, authority: Authority) -> "Carrier":
        return cls(folder, authority, Host(folder))

    @property
    def host_id(self) -> HostId:
        return self.host.host_id

    @property
    def moved(self) -> MovedStore:
        return self.host.captures.moved

    @property
    def spool(self) -> HostSpool:
        return HostSpool(self.host.spool, self.host.database)

    @property
    def trust(self) -> Trust:
        return self.authority.trust

    def capture(self, dataset: bytes = b"\x08\x00") -> ObjectId:
        """Have a new image arrive."""
        self.captured += 1
        return self.host.capture(dataset, uid=f"1.2.3.{self.captured}")

    def start_again(self, folder: Path | None = None) -> None:
        """Do what a stop and a start do, in `folder` where the host is to go on from a copy of its own."""
        self.folder = self.host.folder = folder or self.folder
        self.host.restart()
        self.host.recover()

    def rot(self, object_id: ObjectId, which: str) -> None:
        """Flip a bit in a part of an object, where it lies in the spool."""
        spooled = self.host.spool.find(object_id)
        assert spooled is not None
        at = part_of(self.files()[str(object_id)], which)
        if spooled.place is None:
            flip(self.host.spool.files / spooled.name, at)
        else:
            flip(self.host.spool.segments.path(spooled.place.segment), spooled.place.offset + at)

    def export(self, target: Path | NewExport, *, spool: LeavingSpool | None = None) -> Exported:
        moved = self.moved
        exporter = SpoolExporter(
            host_id=self.host_id,
            signer=self.host.signer,
            signers=certified(self.certificate + moved.certificates(), self.trust),
            spool=spool or self.spool,
            has_receipt=self.host.captures.receipts.holds,
            journal=self.host.journal,
            moved=moved,
            clock=self.host.clock,
            random_bytes=self.host.random_bytes,
        )
        return exporter.export(target if isinstance(target, NewExport) else NewExport(target))

    def take_in(
        self, given: Path, *, spool: TakingSpool | None = None, verify_manifest: ManifestVerifier | None = None
    ) -> Imported:
        return self.importer(spool, verify_manifest).take_in(GivenExport(given))

    def importer(
        self, spool: TakingSpool | None = None, verify_manifest: ManifestVerifier | None = None
    ) -> SpoolImporter:
        more = {"verify_manifest": verify_manifest} if verify_manifest else {}
        return SpoolImporter(
            host_id=self.host_id,
            trust=self.trust,
            spool=spool or self.spool,
            answered_for=self.host.captures.receipts.record_of,
            doubt=self.host.captures.receipts.doubt,
            journal=self.host.journal,
            moved=self.moved,
            **more,
        )

    def files(self) -> dict[str, bytes]:
        """Return the objects that wait in the spool, oldest first, as they lie there."""
        found = {}
        for one in self.host.spool.everything():
            with self.host.spool.open(one) as file:
                found[str(one.object_id)] = file.read()
        return found


def parts(export: Path) -> list[tuple[Path, PartList]]:
    return [(path.parent, PartList.parse(path.read_bytes())) for path in sorted(export.glob(f"part-*/{LIST}"))]


def object_files(export: Path) -> dict[ObjectId, Path]:
    return {one.object_id: folder / one.name for folder, part in parts(export) for one in part.objects}


def batch_files(export: Path) -> list[Path]:
    return [folder / one.name for folder, part in parts(export) for one in part.batches]


def everything(export: Path) -> Iterable[Path]:
    return sorted(path for path in export.rglob("*") if path.is_file())


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def part_of(data: bytes, which: str) -> int:
    """Return where in an object file one of its parts is."""
    found = object_file.parse(BytesIO(data))
    small = {"wrap": found.wrap, "index": found.index, "record": found.record, "binding": found.binding.encode()}
    return found.body_offset + 500 if which == "body" else data.index(small[which]) + len(small[which]) - 1


def sign_again(export: Path, signer: SoftwareSigner, manifest: Manifest) -> None:
    (export / MANIFEST).write_bytes(sign_manifest(manifest, signer))


def digests(export: Path) -> tuple[bytes, ...]:
    return tuple(sha256((folder / LIST).read_bytes()).digest() for folder, _ in parts(export))
