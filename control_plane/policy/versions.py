"""What was published before: who, when, and what each version said otherwise than the one before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.transactions import snapshot
from control_plane.policy import sql
from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.file.change import Change
from control_plane.policy.file.differences import differences, summary
from control_plane.policy.file.part_differences import part_differences
from control_plane.policy.verified import VerifiedPolicy
from shared import clock
from shared.canonical import Json
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.fields import encode_base64
from shared.policy.bundle import LayerBundle
from shared.policy.document import ORGANISATION, PolicyDocument
from shared.policy.layer import is_part
from shared.policy.part import PartDocument

SIGNED = "signed"

_Read: TypeAlias = AuthoredPolicy | PartDocument | str
_Changes: TypeAlias = tuple[Change, ...] | None


class VersionUnknown(Refused):
    def __init__(self, version: int, newest: int, layer: str = ORGANISATION) -> None:
        which = f"there are 1 to {newest}" if newest else "nothing is published yet"
        whose = "" if layer == ORGANISATION else f" of layer {layer}"
        super().__init__(f"there is no policy version {version}{whose}; {which}")
        self.version, self.newest = version, newest


@dataclass(frozen=True)
class PastVersion:
    """`state` is SIGNED, or why its signatures do not hold under today's roles: then nothing of it is told."""

    version: int
    published: datetime
    person: str
    state: str
    changes: _Changes  # since the version before; None: one of the two cannot be told

    def json(self) -> dict[str, Json]:
        changes = self.changes
        return {
            "version": self.version,
            "published": clock.text(self.published),
            "person": self.person,
            "state": self.state,
            "changed": "not evaluated" if changes is None else summary(changes),
            "dangers": None if changes is None else sum(bool(change.danger) for change in changes),
        }


class PolicyVersions:
    def __init__(self, database: sessionmaker[Session], verified: VerifiedPolicy) -> None:
        self._database, self._verified = database, verified

    def history(self, most: int, layer: str = ORGANISATION) -> tuple[PastVersion, ...]:
        """Return the newest versions of a layer, the newest first.

        What a version of a part changed is told by what it would come to with the other layers of today.

        Raises DatabaseUnavailable, and of a part what `VerifiedPolicy.newest` raises.
        """
        with snapshot(self._database) as session:
            published = sql.publications(session, layer, most + 1)
        read = {row.version: self._read(layer, row.version) for row in published}
        newest, parts = (self._verified.newest(), self._verified.parts()) if is_part(layer) else (None, {})
        return tuple(_past(row, read, newest, tuple(parts.values())) for row in published[:most])

    def bundle(self, version: int, layer: str = ORGANISATION) -> LayerBundle:
        """Return a version as it was signed, for whoever verifies it. Raises VersionUnknown, DatabaseUnavailable."""
        with snapshot(self._database) as session:
            row = sql.row(session, layer, version)
            newest = sql.newest_version(session, layer)
        if row is None or row.policy is None:
            raise VersionUnknown(version, newest, layer)
        return LayerBundle(layer, row.metadata_bytes, row.policy, row.stable or b"")

    def published(self, layer: str = ORGANISATION) -> dict[int, datetime]:
        """Return when each version of a layer was published. Raises DatabaseUnavailable."""
        with snapshot(self._database) as session:
            return {row.version: row.published for row in sql.publications(session, layer)}

    def _read(self, layer: str, version: int) -> _Read:
        try:
            document = self._verified.version_of(layer, version)
        except (Refused, IntegrityFailure) as exc:
            return str(exc)
        return AuthoredPolicy.of(document) if isinstance(document, PolicyDocument) else document


def bundle_json(bundle: LayerBundle) -> dict[str, Json]:
    return {
        "layer": bundle.layer,
        "metadata": encode_base64(bundle.metadata),
        "policy": encode_base64(bundle.policy),
        **({"stable": encode_base64(bundle.stable)} if bundle.stable else {}),
    }


def _past(
    row: sql.PublicationRow,
    read: Mapping[int, _Read],
    organisation: PolicyDocument | None,
    parts: Sequence[PartDocument],
) -> PastVersion:
    policy, before = read[row.version], read.get(row.version - 1)
    if isinstance(policy, str):
        return PastVersion(row.version, row.published, row.person, policy, None)
    changes = None if isinstance(before, str) else _changed(before, policy, organisation, parts)
    return PastVersion(row.version, row.published, row.person, SIGNED, changes)


def _changed(
    before: AuthoredPolicy | PartDocument | None,
    policy: AuthoredPolicy | PartDocument,
    organisation: PolicyDocument | None,
    parts: Sequence[PartDocument],
) -> _Changes:
    if isinstance(policy, AuthoredPolicy):
        return differences(before if isinstance(before, AuthoredPolicy) else None, policy)
    if organisation is None:
        return None
    try:
        return part_differences(organisation, before if isinstance(before, PartDocument) else None, policy, parts)
    except Malformed:
        return None  # that version and the other layers of today are no valid policy together
