"""Whether this host can do what an accepted policy asks of it, tried before it is in force."""

import secrets
from collections.abc import Callable

from shared.errors import Malformed
from shared.policy.document import KeyPurpose, PolicyDocument
from shared.sealing.hpke import BoxLabel

_LABELS = {
    KeyPurpose.DATA: BoxLabel.DATA_KEY,
    KeyPurpose.INDEX: BoxLabel.INDEX,
    KeyPurpose.AUDIT: BoxLabel.AUDIT_PRIVATE,
}


class SelfCheck:
    """`dicom_tls` makes what modalities are secured with, from the certificates that policy has them chain to."""

    def __init__(self, dicom_tls: Callable[[str], object]) -> None:
        self._dicom_tls = dicom_tls

    def __call__(self, policy: PolicyDocument) -> None:
        """Raise a Refused, an IntegrityFailure or an Unavailable where this host could not act by `policy`."""
        for key in policy.keys:
            key.key.seal(_LABELS[key.purpose], b"self-check", secrets.token_bytes(32))
        for grade in (policy.grading.default, *policy.grading.grades):
            try:
                policy.key_for(KeyPurpose.DATA, grade)
            except KeyError as exc:
                raise Malformed("policy", f"has no key for grade {grade}") from exc
        if policy.dicom_trust:
            self._dicom_tls(policy.dicom_trust)
