"""A real centre that captured real images, and an outsider who judges files by the statements it wrote."""

import io
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from control_plane.custody.decoder import Decoder
from control_plane.custody.frames import FrameDecoder, FrameDigester
from control_plane.custody.statements import CustodyStatements
from provisioning.verify.audit_export import judge_export
from provisioning.verify.image import ImageJudge, ImageReport
from provisioning.verify.part10 import split
from shared.audit.events import Action, Event, Happening, Outcome, Subject
from shared.custody.frames import Pixels
from shared.custody.statement import CustodyStatement
from tests.control_plane.vault.bench import Bench, HostBench, SealedImage
from tests.edge_agent.capture.images import Image

PERSON = "A. Auditor"


@cache
def _decoded(dataset: bytes, transfer_syntax: str) -> Pixels:
    return Decoder().decode([dataset], transfer_syntax)


class Remembering:
    """The centre's decoder, which decodes each image once in a process: these tests are about what is judged later."""

    def decode(self, pieces: Iterable[bytes], transfer_syntax: str) -> Pixels:
        return _decoded(b"".join(pieces), transfer_syntax)

    def stop(self) -> None:
        raise AssertionError("nobody breaks it off")


@dataclass
class Custody:
    folder: Path
    bench: Bench = field(init=False)
    host: HostBench = field(init=False)

    def __post_init__(self) -> None:
        self.bench = Bench(self.folder / "centre")
        self.host = self.bench.enrol()
        what = (Subject("host", str(self.host.host_id)), Subject("asset", "CT 2, room 1.14"))
        self.bench.journal.record(Happening(Event.HOST_ENROLLED, Action.CREATE, Outcome.SUCCESS, (), what))

    def capture(self, image: Image, *, frames: bool = False, host: HostBench | None = None) -> SealedImage:
        """Have `image` captured, stored and logged, and its frames digested where that is wanted."""
        host = host or self.host
        sealed = host.seal(image.dataset, transfer_syntax=image.transfer_syntax)
        self.bench.receive(sealed)
        host.captured(sealed)
        host.note()
        host.deliver(1, host.head.seq)
        if frames:
            self.digester(Remembering()).run_once()
        return sealed

    def digester(self, decoder: FrameDecoder | None = None, *, asked: bool = True) -> FrameDigester:
        return FrameDigester(
            self.bench.database, self.bench.evidence, self.bench.opener, decoder or Decoder(), lambda _: asked,
            self.bench.journal, self.bench.receipts, self.bench.clock,
        )  # fmt: skip

    def statement(self, sealed: SealedImage) -> CustodyStatement:
        return CustodyStatement.parse(self.written(sealed))

    def written(self, sealed: SealedImage) -> bytes:
        return CustodyStatements(self.bench.database, self.bench.journal, self.bench.clock).write(
            PERSON, sealed.object_id
        )

    def export(self) -> list[bytes]:
        return list(self.bench.reading.export(PERSON))

    def judge(
        self,
        file: bytes,
        statement: CustodyStatement,
        *,
        judge: ImageJudge | None = None,
        log: list[bytes] | None = None,
    ) -> ImageReport:
        ca = self.bench.ca.trust
        source = io.BytesIO(file)
        report = None if log is None else judge_export(log, ca)
        return (judge or ImageJudge(Decoder())).judge(source, split(source), statement, ca, report)

    @property
    def ca_pem(self) -> bytes:
        return self.bench.ca.pem


def as_image(path: Path) -> Image:
    """Read a file that a program of others wrote."""
    data = path.read_bytes()
    found = split(io.BytesIO(data))
    assert found.transfer_syntax is not None
    return Image(path.name, path, found.transfer_syntax, "", "", data[found.dataset_offset :])


def dcmtk(program: str, source: Path, target: Path, *options: str) -> Image:
    """Run one of DCMTK's converters over a file and return what it wrote."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed (Debian package dcmtk)")
    subprocess.run([found, *options, str(source), str(target)], check=True, capture_output=True)
    return as_image(target)
