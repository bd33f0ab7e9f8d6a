"""What every step works with: the folders, the display, the ledger of expectations and the running programs."""

from dataclasses import dataclass
from pathlib import Path

from provisioning.demo.display import Display
from provisioning.demo.expectations import Expectations
from provisioning.demo.people import PeopleDoor
from provisioning.demo.processes import Child, Children
from shared.errors import Refused

MARK = "leadglass-demo"


class FolderUnusable(Refused):
    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(f"{folder} cannot be made or written: {why}; name another folder")
        self.folder, self.why = folder, why


class FolderTaken(Refused):
    def __init__(self, folder: Path) -> None:
        former = (folder / MARK).exists()
        why = "holds what a former demo left" if former else "is not empty"
        super().__init__(
            f"{folder} {why}, and the demo never writes over anything; name another folder, or remove it yourself"
        )
        self.folder, self.former = folder, former


@dataclass(frozen=True)
class Folders:
    """Everything that the demo leaves on disk lies below `data`."""

    data: Path

    @property
    def control_plane(self) -> Path:
        return self.data / "control_plane"

    @property
    def agent(self) -> Path:
        return self.data / "agent"

    @property
    def handover(self) -> Path:
        return self.data / "handover"

    @property
    def policies(self) -> Path:
        return self.data / "policies"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def credential(self) -> Path:
        return next(self.handover.glob("credential-*.json"))

    @property
    def authority_root_key(self) -> Path:
        return self.handover / "authority-root-key.pem"

    def share(self, number: int) -> Path:
        return self.handover / f"recovery-share-{number}.txt"

    def make(self) -> None:
        """Raises FolderTaken, FolderUnusable."""
        try:
            if self.data.exists() and any(self.data.iterdir()):
                raise FolderTaken(self.data)
            for folder in (self.data, self.policies, self.logs):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.data / MARK).write_text("This folder was made by the Leadglass demo. It may be removed as a whole.\n")
        except OSError as exc:
            raise FolderUnusable(self.data, exc.strerror or "it failed") from exc


@dataclass(frozen=True)
class Centre:
    """The running control plane, as a person and a host reach it."""

    child: Child
    people: PeopleDoor
    enrol_url: str
    hosts_port: int
    mqtt_port: int | None  # None: no broker, hosts pull over HTTPS


@dataclass(frozen=True)
class Stage:
    folders: Folders
    display: Display
    expectations: Expectations
    children: Children

    def judge(self, name: str, held: bool, evidence: str) -> bool:  # noqa: FBT001 (the fact itself, beside its evidence)
        """Record and show what came of an expectation; return whether it held."""
        self.display.judged(self.expectations.judge(name, held, evidence))
        return held
