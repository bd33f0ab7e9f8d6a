"""What a person decides in a policy. Version and keys are added when it is signed."""

from dataclasses import dataclass, fields

from shared.devices.policy import DevicePolicy
from shared.devices.watch import WatchPolicy
from shared.policy.document import Coverage, Modality, PolicyDocument
from shared.policy.grading import Grading
from shared.policy.routes import Route


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

    @classmethod
    def of(cls, document: PolicyDocument) -> "AuthoredPolicy":
        """Return what the person who signed `document` had decided."""
        return cls(**{field.name: getattr(document, field.name) for field in fields(cls)})
