"""What people are called: it stands in audit records, on the status page, beside keys and in a file's name."""

from shared.identity import CONTROL_PLANE

PERSON_PATTERN = r"\w[\w .@'-]{0,63}"


def is_of_a_service(name: str) -> bool:
    """Return whether a person of this name could be taken for the control plane in the audit log."""
    return name.strip(" .@'-").casefold() == CONTROL_PLANE
