"""Reads the roll-out of a layer's newest version from the database, and says what became of one that is not there."""

from sqlalchemy.orm import Session

from control_plane.db.models import PolicyMetadata, RolloutRow
from control_plane.policy import sql
from control_plane.policy.together import parse_document
from control_plane.rollout.state import Rollout
from shared.errors import Malformed
from shared.policy.document import PolicyDocument
from shared.policy.rollout import Rings


def newest(session: Session, layer: str) -> Rollout | None:
    """Return the roll-out of the newest version of a layer, None where that was for everybody at once.

    Raises Malformed: somebody changed it.
    """
    version = sql.newest_version(session, layer)
    row = session.get(RolloutRow, (layer, version), populate_existing=True)
    published = sql.row(session, layer, version)
    return None if row is None else Rollout.of(row, for_guards=published is not None and _is_for_guards(published))


def was_signed_for_rings(session: Session, layer: str) -> bool:
    """Return whether people signed what the newest version can be taken back to, whatever is known of its rings."""
    published = sql.row(session, layer, sql.newest_version(session, layer))
    return published is not None and bool(published.stable)


def unreadable(session: Session, layer: str, rings: Rings | None, why: Malformed | None) -> str:
    """Return what to say of a roll-out that cannot be read, empty where it is over; `rings` are those of the snapshot.

    `why` is what is wrong with its row, None where there is no row.
    """
    if why is None and (rings is None or not was_signed_for_rings(session, layer)):
        return ""
    became = "is gone" if why is None else "was changed"
    because = "" if why is None else f": {why}"
    stand = {None: "every host has the newest version", Rings(): "it is taken back, and every host has the one before"}
    takes_back = f"`leadglass-server policy rollout revert --layer {layer}` takes it back"
    stands = stand.get(rings, f"hosts stay as they are until {takes_back}")
    return f"roll-out of {layer}: its row {became}, and nothing opens by itself{because}; {stands}"


def _is_for_guards(published: PolicyMetadata) -> bool:
    # Of the organisation a guard reports a version with rules alone, of a part every one, or nothing at all.
    document = parse_document(published.role, published.policy or b"")
    return not isinstance(document, PolicyDocument) or document.devices is not None
