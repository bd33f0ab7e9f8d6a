"""Opens images for a named person who says why: proved whole first, then released while it is proved again.

Whatever is refused or altered is recorded before anyone is told, and whatever is released before its first byte.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.audit_log.journal import CentreJournal, failure
from control_plane.audit_log.proof import AuditProof
from control_plane.db.models import Object, Wrap
from control_plane.db.transactions import snapshot
from control_plane.vault import part10
from control_plane.vault.checks import Check, Name, Report
from control_plane.vault.index_service import IndexService
from control_plane.vault.key_ring import KeyRing, key_for
from control_plane.vault.object_store import ObjectStore
from shared.audit.record import Action, AuditRecord, Event, Happening, Outcome, Participant, Subject
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.identity import CONTROL_PLANE, ObjectId
from shared.policy.document import KeyPurpose
from shared.sealing.chunked import NotAuthentic
from shared.sealing.hpke import SealingPrivateKey
from shared.sealing.index import SealedIndex
from shared.sealing.open import ObjectAltered, StoredObject, open_range, open_verified, unwrap, verify_parts
from shared.sealing.record import CaptureRecord, record_digest, verify_record
from shared.signing import EvidencePublicKey

Form: TypeAlias = Literal["part10", "dataset"]
