"""The enrolment: the host judges the centre by the code's fingerprint first, and only then sends anything."""

import ssl
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding

from edge_agent.config import EVIDENCE_CERTIFICATE, HOST_CONFIG, AgentFolder, HostConfig
from edge_agent.enrol.judge import verify_answer, verify_centre
from edge_agent.enrol.keys import HostKeys, private_pem, request
from edge_agent.enrol.store import refuse_if_enrolled, store, verify_storable
from edge_agent.host_keys.plain import FILES
from edge_agent.host_keys.store import file_name
from edge_agent.host_keys.vault import KeyName, KeyVault
from edge_agent.https import DoorUnavailable, HttpsDoor, accepted, fetch_unverified, problem, unverified_door
from shared.enrolment.chain import Trust
from shared.enrolment.code import EnrolmentCode
from shared.enrolment.exchange import EnrolmentAnswer, EnrolmentRequest
from shared.errors import Malformed, Refused
from shared.identity import HostId

_FORBIDDEN, _TOO_MANY = 403, 429
_ASK_S = 5.0
_IDENTITY_BYTES = 128 << 10  # more than keys, certificates and addresses take
_NOT_THE_CODE = {"CodeOfAnotherAsset", "Tombstoned"}


class CodeRefused(Refused):
    """The centre does not say which of the three it is, so that nobody can try codes out."""

    def __init__(self) -> None:
        super().__init__("the centre does not take this code: it is wrong, used or expired; ask for a new one")


class NotTheEnrolmentDoor(Refused):
    def __init__(self, door: str) -> None:
        super().__init__(
            f"{door} talks to none but enrolled hosts: it is the hosts' door; give the address of the enrolment door, "
            "which the control plane prints as it starts"
        )
        self.door = door


class EnrolmentRefused(Refused):
    """The code is right, and something else is in the way."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the centre does not enrol this host: {why}")
        self.why = why


def enrol(
    folder: AgentFolder,
    url: str,
    code: EnrolmentCode,
    asset: str,
    machine: tuple[bytes, ...] = (),
    *,
    vault: KeyVault = FILES,
) -> HostId:
    """Return the id that the centre gave this host, once its identity is stored durably.

    `machine` are the digests by which the centre knows this machine again.
    Raises AlreadyEnrolled, Malformed, DoorUnavailable, NotTheEnrolmentDoor, StrangeCentre, KeyVaultUnavailable,
    CodeRefused, EnrolmentRefused, DoorRefused, AnswerUnusable, IdentityNotStored.
    """
    refuse_if_enrolled(folder.identity)
    host, port = address(url)
    ca = verify_centre(_shown(host, port), code)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ca.public_bytes(Encoding.PEM).decode())
    keys = HostKeys.new()
    # First: a code that works once is not spent on keys that could not be kept.
    tls, evidence = (
        vault.wrap(name, private_pem(key)) for name, key in ((KeyName.TLS, keys.tls), (KeyName.EVIDENCE, keys.evidence))
    )
    verify_storable(folder.identity, _IDENTITY_BYTES)
    answer = _exchange(
        HttpsDoor(host, port, context),
        EnrolmentRequest(code.secret, request(keys.tls, "host"), request(keys.evidence, "evidence"), asset, machine),
    )
    verify_answer(answer, keys, Trust((ca,)))
    layer, *parts = answer.layers
    config = HostConfig(
        answer.host_id, asset, answer.doors, answer.sop_hash_key, answer.policy_root, layer, tuple(parts),
        enrolled_at=url, keys=vault.protection,
    )  # fmt: skip
    store(
        folder.identity,
        {
            file_name(KeyName.TLS, vault.protection): answer.tls_certificate.encode() + tls,
            file_name(KeyName.EVIDENCE, vault.protection): evidence,
            EVIDENCE_CERTIFICATE: answer.evidence_certificate.encode(),
            "ca.pem": ca.public_bytes(Encoding.PEM),
            HOST_CONFIG: config.encode(),
        },
    )
    return answer.host_id


def _shown(host: str, port: int) -> bytes:
    try:
        return fetch_unverified(host, port, "/ca.pem")
    except DoorUnavailable as exc:
        # Asked anew: the word that a certificate is missing may be lost with the connection.
        door = unverified_door(host, port, _ASK_S)
        if door.asks_for_a_certificate():
            raise NotTheEnrolmentDoor(door.name) from exc
        raise


def _exchange(door: HttpsDoor, sent: EnrolmentRequest) -> EnrolmentAnswer:
    try:
        answer = door.post("/api/v1/enrol", sent.encode(), "application/json")
    finally:
        door.close()
    if answer.status == _FORBIDDEN:
        told = problem(answer)
        if told.get("error") in _NOT_THE_CODE:
            raise EnrolmentRefused(told.get("detail", ""))
        raise CodeRefused
    if answer.status == _TOO_MANY:
        raise DoorUnavailable(door.name, f"too many attempts; try again in {answer.headers.get('retry-after', '60')} s")
    return EnrolmentAnswer.parse(accepted(door.name, answer).body)


def address(url: str) -> tuple[str, int]:
    """Raises Malformed."""
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError as exc:
        raise Malformed("enrolment address", "expected https://host:port") from exc
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.path not in ("", "/") or parts.query:
        raise Malformed("enrolment address", "expected https://host:port")
    return parts.hostname, port
