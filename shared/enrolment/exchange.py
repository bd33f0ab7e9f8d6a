"""The enrolment exchange: one request, one answer, canonical JSON over TLS that the host has verified.

docs/formats/enrolment.md section 2
"""

import re
from dataclasses import dataclass

from shared import canonical
from shared.canonical import Json
from shared.enrolment.code import SECRET_BYTES
from shared.errors import Malformed
from shared.fields import Fields, encode_base64
from shared.identity import HostId
from shared.policy.layer import LAYER_PATTERN

MAX_BYTES = 256 * 1024
HOST_KEY_BYTES = 32
MAX_PEM_CHARS = 8192
MAX_ASSET_CHARS = 100
MAX_MACHINE_DIGESTS = 4
PEM_PATTERN = r"-----BEGIN [A-Z ]+-----\n[A-Za-z0-9+/=\n]+-----END [A-Z ]+-----\n"
CHAIN_PATTERN = rf"(?:{PEM_PATTERN}){{1,8}}"
ADDRESS_PATTERN = r"[A-Za-z0-9.\-]{1,253}|\[[0-9a-fA-F:]{2,39}\]"


@dataclass(frozen=True)
class EnrolmentRequest:
    """Two certificate requests (PKCS #10), each proving possession of its own ECDSA P-256 key."""

    secret: bytes
    tls_csr: str
    evidence_csr: str
    asset: str  # the asset number, or what else people call the host, as the code was issued for
    machine: tuple[bytes, ...] = ()  # SHA-256 digests of what identifies the machine

    def encode(self) -> bytes:
        machine: dict[str, Json] = {"machine": [digest.hex() for digest in self.machine]} if self.machine else {}
        return canonical.encode(
            {
                **machine,
                "v": 1,
                "secret": encode_base64(self.secret),
                "tls_csr": self.tls_csr,
                "evidence_csr": self.evidence_csr,
                "asset": self.asset,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "EnrolmentRequest":
        """Raises Malformed."""
        fields = read_message(data, "enrolment request")
        request = cls(
            secret=fields.base64("secret", max_bytes=SECRET_BYTES),
            tls_csr=fields.text("tls_csr", PEM_PATTERN, max_chars=MAX_PEM_CHARS),
            evidence_csr=fields.text("evidence_csr", PEM_PATTERN, max_chars=MAX_PEM_CHARS),
            asset=fields.text("asset", max_chars=MAX_ASSET_CHARS),
            machine=_machine(fields.items("machine", most=MAX_MACHINE_DIGESTS)) if fields.has("machine") else (),
        )
        fields.done()
        if len(request.secret) != SECRET_BYTES:
            raise Malformed("enrolment request field 'secret'", f"expected {SECRET_BYTES} bytes")
        return request


@dataclass(frozen=True)
class Doors:
    """Where the host finds the centre: names or addresses that the server certificate carries.

    A broker that is not the centre's own has an address of its own, and may have an authority of its own.
    """

    host: str
    https_port: int
    mqtt_port: int | None  # None: no broker here, policy is pulled over HTTPS
    mqtt_host: str | None = None  # None: the same as `host`
    mqtt_ca: str | None = None  # one certificate in PEM; None: the centre's own authority
    enrol_port: int | None = None  # the enrolment door, on the same `host`; None: not told

    def json(self) -> dict[str, Json]:
        """Return the members; the last three are left out where they say nothing."""
        known: dict[str, Json] = {"host": self.host, "https_port": self.https_port, "mqtt_port": self.mqtt_port}
        if self.mqtt_host is not None:
            known["mqtt_host"] = self.mqtt_host
        if self.mqtt_ca is not None:
            known["mqtt_ca"] = self.mqtt_ca
        if self.enrol_port is not None:
            known["enrol_port"] = self.enrol_port
        return known

    @classmethod
    def parse(cls, fields: Fields) -> "Doors":
        """Take every member of `fields`. Raises Malformed."""
        doors = cls(
            fields.text("host", ADDRESS_PATTERN),
            fields.integer("https_port", least=1, most=65_535),
            None if fields.is_null("mqtt_port") else fields.integer("mqtt_port", least=1, most=65_535),
            fields.text("mqtt_host", ADDRESS_PATTERN) if fields.has("mqtt_host") else None,
            fields.text("mqtt_ca", PEM_PATTERN, max_chars=MAX_PEM_CHARS) if fields.has("mqtt_ca") else None,
            fields.integer("enrol_port", least=1, most=65_535) if fields.has("enrol_port") else None,
        )
        fields.done()
        return doors


@dataclass(frozen=True)
class EnrolmentAnswer:
    """Each certificate has behind it those of the authorities that lead from it to the root."""

    host_id: HostId
    tls_certificate: str
    evidence_certificate: str
    sop_hash_key: bytes  # this host's own key for hash_sop_instance
    doors: Doors
    policy_root: bytes  # TUF root metadata, the trust anchor of every policy
    layers: tuple[str, ...]  # whose policies concern this host

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "host": str(self.host_id),
                "tls_certificate": self.tls_certificate,
                "evidence_certificate": self.evidence_certificate,
                "sop_hash_key": encode_base64(self.sop_hash_key),
                "doors": self.doors.json(),
                "policy_root": encode_base64(self.policy_root),
                "layers": list(self.layers),
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "EnrolmentAnswer":
        """Raises Malformed."""
        fields = read_message(data, "enrolment answer")
        answer = cls(
            host_id=HostId.parse(fields.text("host")),
            tls_certificate=fields.text("tls_certificate", CHAIN_PATTERN, max_chars=MAX_PEM_CHARS),
            evidence_certificate=fields.text("evidence_certificate", CHAIN_PATTERN, max_chars=MAX_PEM_CHARS),
            sop_hash_key=fields.base64("sop_hash_key", max_bytes=HOST_KEY_BYTES),
            doors=Doors.parse(fields.fields("doors")),
            policy_root=fields.base64("policy_root", max_bytes=65_536),
            layers=tuple(_layer(item) for item in fields.items("layers", most=8)),
        )
        fields.done()
        if len(answer.sop_hash_key) != HOST_KEY_BYTES:
            raise Malformed("enrolment answer field 'sop_hash_key'", f"expected {HOST_KEY_BYTES} bytes")
        return answer


def read_message(data: bytes, what: str) -> Fields:
    """Return the members of a message of this exchange, its version taken. Raises Malformed."""
    if len(data) > MAX_BYTES:
        raise Malformed(what, f"larger than {MAX_BYTES} bytes")
    fields = Fields(canonical.parse(data, what), what)
    fields.version()
    return fields


def _machine(values: list[Json]) -> tuple[bytes, ...]:
    for value in values:
        if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
            raise Malformed("enrolment request field 'machine'", "expected SHA-256 digests in hexadecimal")
    if not values or len(set(map(str, values))) != len(values):
        raise Malformed("enrolment request field 'machine'", "expected at least one digest and none twice")
    return tuple(bytes.fromhex(str(value)) for value in values)


def _layer(value: Json) -> str:
    # The name becomes part of topics, addresses and file names.
    if not isinstance(value, str) or not re.fullmatch(LAYER_PATTERN, value):
        raise Malformed("enrolment answer field 'layers'", f"expected names matching {LAYER_PATTERN}")
    return value
