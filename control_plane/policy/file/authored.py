"""What a person decides in a policy. Version and keys are added when it is signed."""

from dataclasses import dataclass, fields
from typing import TypeAlias

from shared.devices.policy import DevicePolicy
from shared.devices.watch import WatchPolicy
from shared.identity import HostId
from shared.policy.document import Coverage, Modality, PolicyDocument
from shared.policy.grading import Grading
from shared.policy.part import PartContent, PartDocument
from shared.policy.routes import Route
from shared.policy.wipe import WipePolicy


@dataclass(frozen=True)
class AuthoredPolicy:
    """The members are those of `PolicyDocument`."""

    layer: str
    modalities: tuple[Modality, ...]
    grading: Grading
    state_every_s: int
    pull_every_s: int
    routes: tuple[Route, ...] = ()
    dicom_trust: str = ""
    coverage: Coverage | None = None
    spool_quota_bytes: int = 0
    frame_digests: bool = False
    devices: DevicePolicy | None = None
    watch: WatchPolicy | None = None
    wipe: WipePolicy | None = None

    @classmethod
    def of(cls, document: PolicyDocument) -> "AuthoredPolicy":
        """Return what the person who signed `document` had decided."""
        return cls(**{field.name: getattr(document, field.name) for field in fields(cls)})


@dataclass(frozen=True)
class AuthoredPart:
    """What is decided for a site or a type of modality; `hosts` are a site's exceptions, in the order of ids."""

    layer: str
    content: PartContent
    hosts: tuple[tuple[HostId, PartContent], ...] = ()

    def document(self, version: int) -> PartDocument:
        return PartDocument(self.layer, version, self.content, self.hosts)

    @classmethod
    def of(cls, document: PartDocument) -> "AuthoredPart":
        """Return what the person who signed `document` had decided."""
        return cls(document.layer, document.content, document.hosts)


Authored: TypeAlias = AuthoredPolicy | AuthoredPart


def authored_of(document: PolicyDocument | PartDocument) -> Authored:
    """Return what the person who signed `document` had decided."""
    return AuthoredPolicy.of(document) if isinstance(document, PolicyDocument) else AuthoredPart.of(document)
