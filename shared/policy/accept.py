"""Decides whether an offered policy takes the place of the one that is held. The accepted version only rises."""

from dataclasses import dataclass

from shared.errors import IntegrityFailure, Refused
from shared.policy.layer import is_part


class PolicyRollback(Refused):
    def __init__(self, *, offered: int, held: int, layer: str = "") -> None:
        super().__init__(
            f"policy version {offered}{_of_part(layer)} is older than version {held}, which is accepted here"
        )
        self.offered, self.held, self.layer = offered, held, layer


class PolicyEquivocation(IntegrityFailure):
    """Two different policies carry one version: the signers, or their key, told two stories."""

    def __init__(self, version: int, layer: str = "") -> None:
        super().__init__(
            f"policy version {version}{_of_part(layer)} was offered with other content than the one accepted here"
        )
        self.version, self.layer = version, layer


class WrongLayer(Refused):
    def __init__(self, *, offered: str, expected: str) -> None:
        super().__init__(f"policy is for layer {offered}, expected {expected}")
        self.offered, self.expected = offered, expected


@dataclass(frozen=True)
class AcceptedPolicy:
    """What a host remembers for good of a layer: which version, and exactly which bytes."""

    layer: str
    version: int
    sha256: bytes


def accept(offered: AcceptedPolicy, held: AcceptedPolicy | None) -> AcceptedPolicy:
    """Return which of the two is accepted from now on.

    Raises PolicyRollback, PolicyEquivocation, WrongLayer; what is held then stays.
    """
    if held is None:
        return offered
    if offered.layer != held.layer:
        raise WrongLayer(offered=offered.layer, expected=held.layer)
    if offered.version < held.version:
        raise PolicyRollback(offered=offered.version, held=held.version, layer=held.layer)
    if offered.version == held.version and offered.sha256 != held.sha256:
        raise PolicyEquivocation(offered.version, held.layer)
    return offered


def _of_part(layer: str) -> str:
    return f" of layer {layer}" if is_part(layer) else ""
