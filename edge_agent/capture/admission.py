"""Decides who may send. What the policy does not list is refused."""

from dataclasses import dataclass

from shared.policy.document import PolicyDocument


@dataclass(frozen=True)
class Admission:
    admitted: bool
    reason: str


def evaluate(policy: PolicyDocument | None, calling_ae_title: str) -> Admission:
    """Return whether a modality of this calling AE title may open an association."""
    if policy is None:
        return Admission(False, "no policy is in force")
    if not policy.allows(calling_ae_title):
        return Admission(False, f"calling AE title is not listed in policy {policy.version}")
    return Admission(True, f"listed in policy {policy.version}")
