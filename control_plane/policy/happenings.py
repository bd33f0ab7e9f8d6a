"""What is recorded of a publication, and of one that was refused."""

from collections.abc import Iterable, Mapping
from hashlib import sha256

from tuf.api.metadata import Root, Targets

from control_plane.db.models import PolicyMetadata
from control_plane.policy.roles import ROOT, is_named, name_of, parse_role
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject

# An audit record has room for 16 who took part.
_MOST_SIGNERS_NAMED = 15


def names_of(roots: Iterable[bytes]) -> dict[str, str]:
    """Return the names of all who ever signed, by key id."""
    keys = (key for root in roots for key in parse_role(Root, root).signed.keys.values())
    return {key.keyid: name_of(key) for key in keys if is_named(key)}


def published(row: PolicyMetadata, names: Mapping[str, str]) -> Happening:
    """Return what is recorded: who sent it, and beside them who else has signed it."""
    data = row.metadata_bytes
    signed = (parse_role(Root, data) if row.role == ROOT else parse_role(Targets, data)).signatures
    others = sorted({names[key_id] for key_id in signed if key_id in names} - {row.person})
    digest = sha256(row.metadata_bytes if row.policy is None else row.policy).hexdigest()
    return Happening(
        Event.POLICY_PUBLISHED,
        Action.CREATE,
        Outcome.SUCCESS,
        who=(
            Participant("person", row.person, requestor=True),
            *(Participant("person", name, requestor=False) for name in others[:_MOST_SIGNERS_NAMED]),
        ),
        what=(Subject("policy", f"{row.role} version {row.version} sha256 {digest}"),),
        reason=row.remark,
    )


def refused(what: str, person: str, exc: Exception) -> Happening:
    return Happening(
        Event.POLICY_REFUSED,
        Action.CREATE,
        Outcome.SERIOUS_FAILURE,
        who=(Participant("person", person, requestor=True),),
        what=(Subject("policy", what),),
        reason=str(exc),
    )
