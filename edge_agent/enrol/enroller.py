"""The enrolment: the host judges the centre by the code's fingerprint first, and only then sends anything."""

import ssl
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding

from edge_agent.config import AgentFolder, HostConfig
from edge_agent.enrol.judge import verify_answer, verify_centre
from edge_agent.enrol.keys import HostKeys, private_pem, request
from edge_agent.enrol.store import refuse_if_enrolled, store
from edge_agent.https import DoorUnavailable, HttpsDoor, accepted, fetch_unverified
from shared.enrolment.chain import Trust
from shared.enrolment.code import EnrolmentCode
from shared.enrolment.exchange import EnrolmentAnswer, EnrolmentRequest
from shared.errors import Malformed, Refused
from shared.identity import HostId

_FORBIDDEN, _TOO_MANY = 403, 429


class CodeRefused(Refused):
    """The centre does not say which of the three it is, so that nobody can try codes out."""

    def __init__(self) -> None:
        super().__init__("the centre does not take this code: it is wrong, used or expired; ask for a new one")


def enrol(folder: AgentFolder, url: str, code: EnrolmentCode, asset: str) -> HostId:
    """Return the id that the centre gave this host, once its identity is stored durably.

    Raises AlreadyEnrolled, Malformed, DoorUnavailable, StrangeCentre, CodeRefused, DoorRefused, AnswerUnusable,
    IdentityNotStored.
    """
    refuse_if_enrolled(folder.identity)
    host, port = _address(url)
    ca = verify_centre(fetch_unverified(host, port, "/ca.pem"), code)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ca.public_bytes(Encoding.PEM).decode())
    keys = HostKeys.new()
    answer = _exchange(
        HttpsDoor(host, port, context),
        EnrolmentRequest(code.secret, request(keys.tls, "host"), request(keys.evidence, "evidence"), asset),
    )
    verify_answer(answer, keys, Trust((ca,)))
    layer, *parts = answer.layers
    config = HostConfig(
        answer.host_id, asset, answer.doors, answer.sop_hash_key, answer.policy_root, layer, tuple(parts)
    )
    store(
        folder.identity,
        {
            "tls.pem": answer.tls_certificate.encode() + private_pem(keys.tls),
            "evidence.key": private_pem(keys.evidence),
            "evidence.crt": answer.evidence_certificate.encode(),
            "ca.pem": ca.public_bytes(Encoding.PEM),
            "host.json": config.encode(),
        },
    )
    return answer.host_id


def _exchange(door: HttpsDoor, sent: EnrolmentRequest) -> EnrolmentAnswer:
    try:
        answer = door.post("/api/v1/enrol", sent.encode(), "application/json")
    finally:
        door.close()
    if answer.status == _FORBIDDEN:
        raise CodeRefused
    if answer.status == _TOO_MANY:
        raise DoorUnavailable(door.name, f"too many attempts; try again in {answer.headers.get('retry-after', '60')} s")
    return EnrolmentAnswer.parse(accepted(door.name, answer).body)


def _address(url: str) -> tuple[str, int]:
    """Raises Malformed."""
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError as exc:
        raise Malformed("enrolment address", "expected https://host:port") from exc
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.path not in ("", "/") or parts.query:
        raise Malformed("enrolment address", "expected https://host:port")
    return parts.hostname, port
