"""A small centre: a CA, an enrolment door and a host door on loopback, keeping what it is sent in memory.

It judges what arrives with the same functions of `shared` as the real one, so an agent that satisfies it speaks the
formats; how the real doors behave is shown by the scenarios, which run both sides.
"""

import contextlib
import json
import secrets
import socket
import ssl
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from time import monotonic
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.audit import packed
from shared.audit.batch import AuditGap, Batch, ChainHead, judge_arrival, verify_batch
from shared.audit.checkpoint import PATH
from shared.audit.record import AuditRecord, StoredRecord
from shared.enrolment.chain import Trust, pem_of
from shared.enrolment.claim import PATH as CLAIM_PATH
from shared.enrolment.code import EnrolmentCode
from shared.enrolment.exchange import Doors, EnrolmentAnswer, EnrolmentRequest
from shared.enrolment.renewal import (
    EVIDENCE_PATH,
    EvidenceRenewalAnswer,
    EvidenceRenewalRequest,
    RenewalAnswer,
    RenewalRequest,
)
from shared.fleet.command import MAX_LISTED, CommandResult, encode_commands, verify_result
from shared.fleet.receipt import LOST_HEADER, RESTORED_HEADER, Receipt, sign_receipt
from shared.fleet.state import READS_HEADER, HostState, verify_state
from shared.identity import HostId, ObjectId
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION, PolicyDocument
from shared.sanitization.exchange import ListedWipes
from shared.sealing import object_file
from shared.sealing.index import IndexEntry, SealedIndex, open_index
from shared.sealing.object_file import BodyWindow, ObjectParts
from shared.sealing.open import StoredObject, open_verified, unwrap, verify_parts
from shared.sealing.record import record_digest
from shared.signing import EvidencePublicKey, SoftwareSigner
from tests.fakes.ports import free_port
from tests.fakes.signers import CentreKeys, PolicySigners, document

_LOOK_S = 0.2
# The agent's parts look by themselves 60 s after they were last woken: what should have woken them is to be missed.
_WITHIN_S = 40.0


class Authority:
    """A certificate authority for one test: a root, and an issuing CA below it."""

    def __init__(self, *, may_issue: bool = True) -> None:
        root_key, self._key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root, issuing = _name("root", "test root"), _name("ca", "test issuing")
        self.certificate = (
            _builder(root, root, root_key.public_key())
            .add_extension(x509.BasicConstraints(ca=may_issue, path_length=1 if may_issue else None), critical=True)
            .sign(root_key, hashes.SHA256())
        )
        names = [x509.DNSName("localhost"), x509.IPAddress(IPv4Network("127.0.0.0/8"))]
        self.issuing = (
            _builder(issuing, root, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.NameConstraints(names, None), critical=True)
            .sign(root_key, hashes.SHA256())
        )

    @property
    def trust(self) -> Trust:
        return Trust((self.certificate,))

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def fingerprint(self) -> bytes:
        return sha256(self.certificate.public_bytes(serialization.Encoding.DER)).digest()

    def issue(
        self, common_name: str, unit: str, key: Any, *, server: bool = False, signs: bool = True, days: int = 7
    ) -> bytes:
        """Return the certificate, and behind it the issuing CA's."""
        builder = _builder(_name(unit, common_name), self.issuing.subject, key, days).add_extension(
            _usage(signs=signs), critical=True
        )
        if server:
            addresses = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        return pem_of([builder.sign(self._key, hashes.SHA256()), self.issuing])


@dataclass
class Centre:
    """Everything the centre holds. Tests read it, and set the switches that make it misbehave."""

    folder: Path
    authority: Authority = field(default_factory=Authority)
    signers: PolicySigners = field(default_factory=PolicySigners)
    keys: CentreKeys = field(default_factory=lambda: CentreKeys.new(secrets.token_bytes))
    receipts: SoftwareSigner = field(default_factory=lambda: SoftwareSigner(ec.generate_private_key(ec.SECP256R1())))
    codes: set[bytes] = field(default_factory=set)
    evidence: dict[str, EvidencePublicKey] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    audit: list[StoredRecord] = field(default_factory=list)
    moves: set[tuple[str, str]] = field(default_factory=set)  # from which host, and which other one may bring it
    brought: dict[str, list[StoredRecord]] = field(default_factory=dict)  # records by the host that wrote them
    states: list[HostState] = field(default_factory=list)
    head: bytes = b""
    layer: bytes = b""
    parts: dict[str, bytes] = field(default_factory=dict)  # the bundles of further layers
    requests: list[str] = field(default_factory=list)
    vault_status: int = 0  # answer every object with this status
    receipt_signer: SoftwareSigner | None = None  # sign receipts as somebody else
    commands: list[bytes] = field(default_factory=list)  # envelopes, offered until they are taken away
    results: list[tuple[str, CommandResult]] = field(default_factory=list)  # as they came, by the command in the path
    result_status: int = 204  # answer every result with this status
    wipes: ListedWipes | None = None  # None: it is of a version that knows of none
    wipes_told: list[tuple[str, bytes]] = field(default_factory=list)  # notes and reports, by the path they came to
    wipe_status: int = 204  # answer every note and report with this status
    renewal_status: int = 0  # answer every renewal with this status
    mqtt_port: int | None = None
    roots_pem: bytes = b""  # what it shows of its roots, where that is not the one of its authority
    reads: str = ""  # of a state report or a batch, besides what a centre of an earlier version reads
    lost: str = ""  # what it says in every answer that it lost
    restored: str = ""  # the mark by which it says in every answer that it was restored
    batch_status: int = 0  # answer every batch with this status
    packed_batches: int = 0  # how many came so
    names_itself: bool = True  # its certificate carries the names it is reached by
    changed: threading.Condition = field(default_factory=threading.Condition)

    def start(self, host_port: int | None = None) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        chain = self.folder / "server.pem"
        chain.write_bytes(
            _private(key) + self.authority.issue("control-plane", "service", key.public_key(), server=self.names_itself)
        )
        (self.folder / "ca.pem").write_bytes(self.authority.pem)
        self.enrol_door = self._serve(chain, 0, mutual=False)
        # Some tests have it go away and come back there, so it is a port that nobody is given meanwhile.
        self.host_door = self._serve(chain, host_port or free_port(), mutual=True)

    def stop(self) -> None:
        """Go away, together with every connection that is kept open."""
        for door in (self.enrol_door, self.host_door):
            door.shutdown()
            door.server_close()
            door.hang_up()

    @property
    def enrol_url(self) -> str:
        return f"https://127.0.0.1:{self.enrol_door.server_address[1]}"

    def issue_code(self) -> EnrolmentCode:
        code = EnrolmentCode(secrets.token_bytes(16), self.authority.fingerprint)
        self.codes.add(code.secret)
        return code

    def publish(self, version: int, ae_titles: tuple[str, ...] = ("CT1",)) -> tuple[bytes, bytes]:
        """Publish a policy; return the two bundles as they travel."""
        policy = self.policy(version, ae_titles)
        head, layer = self.signers.publish(policy.encode(), version)
        self.head, self.layer = head.encode(), layer.encode()
        return self.head, self.layer

    def policy(self, version: int, ae_titles: tuple[str, ...] = ("CT1",)) -> PolicyDocument:
        return document(version, self.keys, self.receipts.public, ae_titles)

    def wait_for(self, condition: Any, timeout_s: float = _WITHIN_S) -> None:
        until_s = monotonic() + timeout_s
        with self.changed:
            # What is not of the centre changes without it.
            while not self.changed.wait_for(condition, _LOOK_S):
                assert monotonic() < until_s, "the agent did not do it in time"

    def open(self, object_id: str) -> tuple[bytes, IndexEntry, ObjectParts]:
        """Return the dataset, index entry and parts of a delivered object, everything verified."""
        return open_object(self.objects[object_id], self.evidence_of(object_id), self.keys)

    def data_key(self, object_id: str) -> bytes:
        parts = object_file.parse(BytesIO(self.objects[object_id]))
        stored = StoredObject(parts.binding.object_id, parts.binding.encode(), parts.wrap, parts.record)
        return unwrap(stored, self.keys.data)

    def evidence_of(self, object_id: str) -> EvidencePublicKey:
        parts = object_file.parse(BytesIO(self.objects[object_id]))
        return self.evidence[str(parts.binding.host_id)]

    def enrol(self, sent: EnrolmentRequest) -> EnrolmentAnswer | None:
        if sent.secret not in self.codes:
            return None
        self.codes.remove(sent.secret)
        host = HostId.new()
        tls, evidence = (x509.load_pem_x509_csr(csr.encode()) for csr in (sent.tls_csr, sent.evidence_csr))
        public = evidence.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        self.evidence[str(host)] = EvidencePublicKey(public)
        return EnrolmentAnswer(
            host_id=host,
            tls_certificate=self.authority.issue(str(host), "host", tls.public_key()).decode(),
            evidence_certificate=self.authority.issue(str(host), "evidence", public).decode(),
            sop_hash_key=secrets.token_bytes(32),
            doors=Doors(
                "127.0.0.1",
                int(self.host_door.server_address[1]),
                self.mqtt_port,
                enrol_port=int(self.enrol_door.server_address[1]),
            ),
            policy_root=self.signers.root,
            layers=(ORGANISATION,),
        )

    def renew(self, host: str, sent: RenewalRequest) -> RenewalAnswer:
        csr = x509.load_pem_x509_csr(sent.tls_csr.encode())
        return RenewalAnswer(self.authority.issue(host, "host", csr.public_key()).decode())

    def renew_evidence(self, host: str, sent: EvidenceRenewalRequest) -> EvidenceRenewalAnswer:
        key = x509.load_pem_x509_csr(sent.evidence_csr.encode()).public_key()
        return EvidenceRenewalAnswer(self.authority.issue(host, "evidence", key, days=30).decode())

    def take_object(self, object_id: str, host: str, sealed: bytes) -> tuple[int, bytes]:
        if self.vault_status:
            return self.vault_status, b"{}"
        parts = object_file.parse(BytesIO(sealed))
        stored = StoredObject(ObjectId.parse(object_id), parts.binding.encode(), parts.wrap, parts.record)
        named = str(parts.binding.host_id)
        if named != host and (named, host) not in self.moves:
            return 403, b'{"title": "Object of another host"}'
        verify_parts(stored, self.evidence[named])
        if object_id in self.objects and self.objects[object_id] != sealed:
            return 409, b"{}"
        self.objects[object_id] = sealed
        return self.receipt_of(object_id)

    def receipt_of(self, object_id: str) -> tuple[int, bytes]:
        if object_id not in self.objects:
            return 404, b'{"error":"NotHeld"}'
        parts = object_file.parse(BytesIO(self.objects[object_id]))
        receipt = Receipt(parts.binding.object_id, record_digest(parts.record), datetime(2026, 3, 1, tzinfo=UTC))
        return 200, sign_receipt(receipt, self.receipt_signer or self.receipts)

    def take_batch(self, host: str, data: bytes) -> tuple[int, bytes]:
        if self.batch_status:
            return self.batch_status, b"{}"
        is_packed = data.startswith(packed.MAGIC)
        batch = packed.unpack(data) if is_packed else Batch.parse(data)
        self.packed_batches += is_packed
        source, log = AuditRecord.parse(batch.records[0].public).source, self.audit
        if source != host:
            if (source, host) not in self.moves:
                return 403, b'{"title": "Batch of another host"}'
            log = self.brought.setdefault(source, [])
        records = verify_batch(batch, source, self.evidence[source])
        held = ChainHead(len(log), log[-1].leaf) if log else ChainHead()
        try:
            log.extend(judge_arrival(batch, records, held))
        except AuditGap as exc:
            return 409, json.dumps({"title": "audit gap", "held": exc.held}).encode()
        return 200, json.dumps({"held": len(log)}).encode()

    def take_state(self, host: str, data: bytes) -> None:
        self.states.append(verify_state(data, self.evidence[host]))

    def take_result(self, host: str, command: str, data: bytes) -> int:
        self.results.append((command, verify_result(data, self.evidence[host])))
        return self.result_status

    def _serve(self, chain: Path, port: int, *, mutual: bool) -> "_Server":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        if mutual:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.folder / "ca.pem")
        server = _Server(("127.0.0.1", port), _Handler)
        server.centre, server.context = self, context
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server


def open_object(sealed: bytes, host_key: EvidencePublicKey, keys: CentreKeys) -> tuple[bytes, IndexEntry, ObjectParts]:
    """Open a sealed object file as the centre would, everything verified."""
    source = BytesIO(sealed)
    parts = object_file.parse(source)
    stored = StoredObject(parts.binding.object_id, parts.binding.encode(), parts.wrap, parts.record)
    dataset = b"".join(bytes(piece) for piece in open_verified(stored, BodyWindow(source, parts), host_key, keys.data))
    _, record = verify_parts(stored, host_key)
    entry = open_index(SealedIndex(parts.index, record.index_commitment), parts.binding, keys.index)
    return dataset, entry, parts


def parse_bundles(head: bytes, layer: bytes) -> tuple[HeadBundle, LayerBundle]:
    return HeadBundle.parse(head), LayerBundle.parse(layer)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    centre: Centre
    context: ssl.SSLContext

    def __init__(self, *args: Any) -> None:
        self._open: set[ssl.SSLSocket] = set()
        self._has_gone = False
        super().__init__(*args)

    def finish_request(self, request: Any, client_address: Any) -> None:
        try:
            with self.context.wrap_socket(request, server_side=True) as secured:
                self._open.add(secured)
                try:
                    # One may have been shaking hands when it went away.
                    if not self._has_gone:
                        super().finish_request(secured, client_address)
                finally:
                    self._open.discard(secured)
        except (OSError, ValueError):
            # A client that went away, or was not let in.
            return

    def hang_up(self) -> None:
        self._has_gone = True
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # an answer is two writes, and the second would wait 40 ms for the first
    server: _Server
    connection: Any

    def do_GET(self) -> None:
        centre = self.server.centre
        centre.requests.append(f"GET {self.path}")
        if self.path == "/ca.pem":
            return self._answer(200, centre.authority.pem)
        if self.path == "/roots.pem":
            return self._answer(200, centre.roots_pem or centre.authority.pem)
        if self.path.startswith("/api/v1/objects/"):
            return self._answer(*centre.receipt_of(self.path.rpartition("/")[2]))
        parts = {f"/api/v1/policy/layers/{layer}": bundle for layer, bundle in centre.parts.items()}
        data = {
            **parts,
            "/api/v1/policy/head": centre.head,
            f"/api/v1/policy/layers/{ORGANISATION}": centre.layer,
            "/api/v1/commands": encode_commands(centre.commands[:MAX_LISTED]),
            "/api/v1/wipes": b"" if centre.wipes is None else centre.wipes.encode(),
        }.get(self.path)
        if not data:
            return self._answer(404, b"{}")
        etag = f'"{sha256(data).hexdigest()}"'
        if self.headers.get("If-None-Match") == etag:
            return self._answer(304, b"")
        return self._answer(200, data, etag)

    def do_POST(self) -> None:
        centre, body = self.server.centre, self._body()
        centre.requests.append(f"POST {self.path}")
        if self.path == "/api/v1/enrol":
            answer = centre.enrol(EnrolmentRequest.parse(body))
            return self._answer(403, b'{"title": "no"}') if answer is None else self._answer(200, answer.encode())
        if self.path in (PATH, CLAIM_PATH):
            return self._answer(404, b"{}")  # it keeps no log of its own
        if self.path == "/api/v1/renewal" and centre.renewal_status:
            return self._answer(centre.renewal_status, b'{"title": "Issuing stopped"}')
        if self.path == "/api/v1/renewal":
            return self._answer(200, centre.renew(self._host(), RenewalRequest.parse(body)).encode())
        if self.path == EVIDENCE_PATH:
            return self._answer(200, centre.renew_evidence(self._host(), EvidenceRenewalRequest.parse(body)).encode())
        if self.path == "/api/v1/audit/batches":
            return self._answer(*centre.take_batch(self._host(), body))
        if self.path.startswith("/api/v1/commands/"):
            status = centre.take_result(self._host(), self.path.split("/")[4], body)
            return self._answer(status, b"" if status == 204 else b"{}")
        if self.path.startswith("/api/v1/wipes/"):
            with centre.changed:
                centre.wipes_told.append((self.path, body))
                centre.changed.notify_all()
            return self._answer(centre.wipe_status, b"" if centre.wipe_status == 204 else b"{}")
        centre.take_state(self._host(), body)
        return self._answer(204, b"")

    def do_PUT(self) -> None:
        centre, body = self.server.centre, self._body()
        object_id = self.path.rpartition("/")[2]
        centre.requests.append(f"PUT {self.path}")
        self._answer(*centre.take_object(object_id, self._host(), body))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def _host(self) -> str:
        subject = self.connection.getpeercert()["subject"]
        return next(str(value) for part in subject for name, value in part if name == "commonName")

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _answer(self, status: int, body: bytes, etag: str = "") -> None:
        self.send_response(status)
        if etag:
            self.send_header("ETag", etag)
        if self.server.centre.reads:
            self.send_header(READS_HEADER, self.server.centre.reads)
        if self.server.centre.lost:
            self.send_header(LOST_HEADER, self.server.centre.lost)
        if self.server.centre.restored:
            self.send_header(RESTORED_HEADER, self.server.centre.restored)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        with self.server.centre.changed:
            self.server.centre.changed.notify_all()


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs, key_cert_sign=False, crl_sign=False, content_commitment=not signs,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(unit: str, common_name: str) -> x509.Name:
    values = (
        (NameOID.ORGANIZATION_NAME, "test centre"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
        (NameOID.COMMON_NAME, common_name),
    )
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in values])


def _builder(subject: x509.Name, issuer: x509.Name, key: Any, days: int = 7) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(hours=1))  # noqa: TID251
        .not_valid_after(datetime.now(UTC) + timedelta(days=days))  # noqa: TID251
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
