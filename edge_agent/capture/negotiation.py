"""Association negotiation (DICOM PS3.8 section 9.3.2, PS3.7 annex D): what a modality asks for, what it gets.

Encoding is pynetdicom's, and what it knows of services that do not store; nothing here does I/O.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext, build_context, negotiate_as_acceptor

from shared.dicom import pdu
from shared.dicom.dimse import STORAGE_COMMITMENT, VERIFICATION
from shared.dicom.pdu import AbortReason, ProtocolError

_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_IMPLEMENTATION_CLASS = "2.25.273583140506608294091747710281976524503"
_IMPLEMENTATION_VERSION = "LEADGLASS_0_1"
_VERSION_1 = 0x0001  # bit 0 of the protocol version; others may be set beside it
_MAX_CONTEXTS = 128
# The two models of Storage Commitment, and the DICOMDIR, which is on media only.
_STORE_NOTHING = (STORAGE_COMMITMENT, "1.2.840.10008.1.20.2", "1.2.840.10008.1.3.10")
_ACCEPTED, _USER_REJECTION = 0, 1  # PS3.8 table 9-18
# Requests of storage commitment are read and their reports written here, so not in every transfer syntax.
COMMITMENT_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
# What pynetdicom raises on bytes that are no association request; found by fuzzing, see tests/edge_agent/capture.
_PYNETDICOM_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RecursionError, struct.error,
    TypeError, ValueError,
)  # fmt: skip


@dataclass(frozen=True)
class Rejection:
    """The three numbers of an A-ASSOCIATE-RJ: PS3.8 table 9-21."""

    result: int
    source: int
    reason: int
    why: str

    def encode(self) -> bytes:
        return pdu.reject(self.result, self.source, self.reason)


WRONG_VERSION = Rejection(1, 2, 2, "protocol version is not supported")
WRONG_APPLICATION_CONTEXT = Rejection(1, 1, 2, "application context is not supported")
LOCAL_LIMIT = Rejection(2, 3, 2, "as many associations as are served at a time are open")


def calling_ae_title_not_recognised(why: str) -> Rejection:
    return Rejection(1, 1, 3, why)


@dataclass(frozen=True)
class Requested:
    calling_ae_title: str
    max_pdu_bytes: int  # the most that the peer takes at a time; 0: no limit
    primitive: A_ASSOCIATE


@dataclass(frozen=True)
class Context:
    """One accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True)
class Accepted:
    contexts: Mapping[int, Context]
    answer: bytes


def parse(data: bytes) -> Requested | Rejection:
    """Read an A-ASSOCIATE-RQ PDU. Raises ProtocolError."""
    if len(data) > 7 and not int.from_bytes(data[6:8]) & _VERSION_1:
        return WRONG_VERSION
    try:
        request = A_ASSOCIATE_RQ()
        request.decode(data)
        primitive = request.to_primitive()
        application_context = str(primitive.application_context_name or "")
        calling = str(primitive.calling_ae_title or "").strip()
        max_pdu_bytes = int(primitive.maximum_length_received or 0)
        ids = [context.context_id for context in primitive.presentation_context_definition_list]
        complete = all(c.abstract_syntax and c.transfer_syntax for c in primitive.presentation_context_definition_list)
    except _PYNETDICOM_ERRORS as exc:
        raise ProtocolError("the association request cannot be read", AbortReason.INVALID_PARAMETER) from exc
    if application_context != _APPLICATION_CONTEXT:
        return WRONG_APPLICATION_CONTEXT
    if not complete or not 0 < len(ids) <= _MAX_CONTEXTS or len(set(ids)) != len(ids):
        raise ProtocolError("its presentation contexts are not a list of such", AbortReason.INVALID_PARAMETER)
    return Requested(calling, max_pdu_bytes, primitive)


def accept(requested: Requested, max_pdu_bytes: int) -> Accepted:
    """Accept verification, storage commitment and everything that stores, with the first transfer syntax we take.

    Raises ProtocolError. We provide and the peer uses; a peer that asks to be the provider only is not served, and one
    that asks for both roles is told which it has (PS3.7 D.3.3.4).
    """
    proposed = requested.primitive
    try:
        roles = _roles(proposed)
        services = [build_context(VERIFICATION), build_context(STORAGE_COMMITMENT, list(COMMITMENT_SYNTAXES))]
        contexts = proposed.presentation_context_definition_list
        results, _ = negotiate_as_acceptor([c for c in contexts if not stores(str(c.abstract_syntax))], services, None)
        results += [_taken(context) for context in contexts if stores(str(context.abstract_syntax))]
        results.sort(key=lambda context: context.context_id or 0)
        for context in results:
            if context.result == _ACCEPTED and not roles.get(str(context.abstract_syntax), True):
                context.result = _USER_REJECTION
        taken = {str(context.abstract_syntax) for context in results if context.result == _ACCEPTED}
        answer = _answer(proposed, results, [uid for uid in roles if uid in taken], max_pdu_bytes)
    except _PYNETDICOM_ERRORS as exc:
        raise ProtocolError("the association request cannot be answered", AbortReason.INVALID_PARAMETER) from exc
    accepted = {
        context.context_id: Context(str(context.abstract_syntax), str(context.transfer_syntax[0]))
        for context in results
        if context.result == _ACCEPTED and context.context_id is not None
    }
    return Accepted(accepted, answer)


def stores(abstract_syntax: str) -> bool:
    """Whether a modality may mean to store under an abstract syntax: also a private one, or one that nobody knows yet.

    PS3.6 annex A has "Storage" in the name of each SOP class that does, and of three that do not. Two have no name.
    """
    uid = UID(abstract_syntax)
    if not uid.type:
        return True
    return uid.type == "SOP Class" and uid not in _STORE_NOTHING and (not uid.name or "Storage" in uid.name)


def _taken(proposed: PresentationContext) -> PresentationContext:
    taken = PresentationContext()
    taken.context_id, taken.abstract_syntax = proposed.context_id, proposed.abstract_syntax
    taken.transfer_syntax, taken.result = [proposed.transfer_syntax[0]], _ACCEPTED
    return taken


def _roles(proposed: A_ASSOCIATE) -> dict[str, bool]:
    """Return the SOP classes for which the peer proposed roles, and whether being their user is among them."""
    items = [item for item in proposed.user_information if isinstance(item, SCP_SCU_RoleSelectionNegotiation)]
    return {str(item.sop_class_uid): bool(item.scu_role) for item in items}


def _answer(proposed: A_ASSOCIATE, results: list[PresentationContext], users: list[str], max_pdu_bytes: int) -> bytes:
    length = MaximumLengthNotification()
    length.maximum_length_received = max_pdu_bytes
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID(_IMPLEMENTATION_CLASS)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = _IMPLEMENTATION_VERSION
    primitive = A_ASSOCIATE()
    primitive.application_context_name = UID(_APPLICATION_CONTEXT)
    primitive.calling_ae_title = proposed.calling_ae_title
    primitive.called_ae_title = proposed.called_ae_title
    primitive.result, primitive.result_source = 0, 1
    primitive.presentation_context_definition_results_list = results
    primitive.user_information = [length, implementation, version, *map(_user_only, users)]
    answer = A_ASSOCIATE_AC()
    answer.from_primitive(primitive)
    return answer.encode()


def _user_only(sop_class_uid: str) -> SCP_SCU_RoleSelectionNegotiation:
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid = UID(sop_class_uid)
    role.scu_role, role.scp_role = True, False
    return role
