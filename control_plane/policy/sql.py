"""The rows of published policy metadata. Nothing here is ever changed or deleted; each version is one row."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from control_plane.db.models import PolicyMetadata
from control_plane.policy.roles import ROOT, TARGETS


def newest_version(session: Session, role: str) -> int:
    """Return the highest version of `role`, 0 where there is none."""
    return session.scalar(select(func.max(PolicyMetadata.version)).where(PolicyMetadata.role == role)) or 0


def row(session: Session, role: str, version: int) -> PolicyMetadata | None:
    return session.get(PolicyMetadata, (role, version))


def roots(session: Session) -> tuple[bytes, ...]:
    """Return every root, oldest first."""
    query = select(PolicyMetadata.metadata_bytes).where(PolicyMetadata.role == ROOT).order_by(PolicyMetadata.version)
    return tuple(session.scalars(query))


def changed(session: Session, role: str) -> tuple[PolicyMetadata, ...]:
    """Return every root, or every targets, but the first, which nobody published; oldest first."""
    query = select(PolicyMetadata).where(PolicyMetadata.role == role, PolicyMetadata.version > 1)
    return tuple(session.scalars(query.order_by(PolicyMetadata.version)))


def delegations(session: Session) -> tuple[bytes, ...]:
    """Return every targets metadata, newest first."""
    query = select(PolicyMetadata.metadata_bytes).where(PolicyMetadata.role == TARGETS)
    return tuple(session.scalars(query.order_by(PolicyMetadata.version.desc())))


def published_policies(session: Session) -> tuple[PolicyMetadata, ...]:
    """Return every version of every layer, oldest first."""
    query = select(PolicyMetadata).where(PolicyMetadata.policy.is_not(None))
    return tuple(session.scalars(query.order_by(PolicyMetadata.published, PolicyMetadata.version)))


class PublicationRow(NamedTuple):
    """When one version of a layer was published, and by whom."""

    version: int
    published: datetime
    person: str


def publications(session: Session, layer: str, most: int | None = None) -> list[PublicationRow]:
    """Return the versions of a layer without their documents, the newest first."""
    query = select(PolicyMetadata.version, PolicyMetadata.published, PolicyMetadata.person).where(
        PolicyMetadata.role == layer, PolicyMetadata.policy.is_not(None)
    )
    rows = session.execute(query.order_by(PolicyMetadata.version.desc()).limit(most))
    return [PublicationRow(*row) for row in rows]
