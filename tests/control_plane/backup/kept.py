"""A small centre with hosts and images, its backups beside it, and centres made again from them."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.backup.folder import BackupFolder, chosen
from control_plane.backup.making import BackupMaker, Centre, Made
from control_plane.backup.restoring import Done, restore
from control_plane.backup.verifying import Proved, prove
from control_plane.db.models import Base
from control_plane.enrolment.issuance import Why, record_what_was_issued
from control_plane.keys.drill import seal_test_object
from control_plane.keys.root import RootKey
from control_plane.keys.store import JOURNAL
from control_plane.settings import Folders
from control_plane.vault.local import VaultBodies
from shared.policy.document import KeyPurpose
from tests.control_plane.vault.bench import GRADE, ROOT, Bench, HostBench, SealedImage


@dataclass
class Kept:
    folder: Path
    bench: Bench
    images: list[SealedImage] = field(default_factory=list)
    spare: HostBench = field(init=False)

    @classmethod
    def new(cls, folder: Path, url: str = "") -> "Kept":
        """Return a centre with two hosts, two images, what the hosts wrote about them, and a host that did nothing."""
        bench = Bench(folder / "centre", url=url)
        keys = {(key.purpose, key.grade): key for key in bench.keys.sealing_keys()}
        seal_test_object(
            folder / "drill" / "test-object.lgo", keys[KeyPurpose.DATA, GRADE], keys[KeyPurpose.INDEX, ""],
            bench.keys.signer(JOURNAL), bench.clock.now(),
        )  # fmt: skip
        kept = cls(folder, bench)
        *hosts, spare = [bench.enrol() for _ in range(3)]
        record_what_was_issued(bench.database, bench.journal, Why.FIRST_START)
        for host in hosts:
            kept.capture(host)
        kept.spare = spare
        return kept

    def capture(self, host: HostBench) -> SealedImage:
        image = host.seal()
        host.captured(image)
        self.bench.receive(image)
        host.deliver(1, len(host.journal))
        self.images.append(image)
        return image

    @property
    def backups(self) -> BackupFolder:
        return BackupFolder(self.folder / "backups")

    @property
    def test_object(self) -> Path:
        return self.folder / "drill" / "test-object.lgo"

    def maker(self, root: RootKey = ROOT) -> BackupMaker:
        bench = self.bench
        bodies = VaultBodies(bench.folder / "objects")
        signer = bench.keys.signer(JOURNAL)
        return BackupMaker(
            Centre(
                bench.database, bodies, self.test_object, root, signer, bench.journal, bench.private, bench.clock,
                bench.losses,
            )
        )  # fmt: skip

    def back_up(self) -> Made:
        self.bench.clock.advance(timedelta(seconds=1))  # backups are told apart by the second
        return self.maker().make(self.backups, "A. Admin")

    def prove(self, root: RootKey | None = ROOT) -> Proved:
        folder, path = chosen(self.backups.path)
        return prove(folder, path, root)

    def restore(self, new: Folders, root: RootKey = ROOT, *, without_damaged: bool = False) -> Done:
        folder, path = chosen(self.backups.path)
        return restore(folder, path, new, root, self.bench.clock, without_damaged=without_damaged)

    def restored(self, new: Folders, url: str = "") -> Bench:
        """Return the services of a centre that was restored in a folder."""
        if not url:
            new.database.rename(new.data / "leadglass.sqlite")
        return Bench(new.data, url=url)


def all_rows(database: sessionmaker[Session]) -> dict[str, list[tuple[object, ...]]]:
    with database() as session:
        return {
            table.name: [tuple(row) for row in session.execute(select(table).order_by(*table.primary_key.columns))]
            for table in Base.metadata.sorted_tables
        }


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
