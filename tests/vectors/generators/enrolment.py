"""Makes the scenarios of docs/formats/enrolment.md: `code`, `request`, `answer` and `lapsed`."""

import json
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from shared import canonical
from shared.enrolment.code import EnrolmentCode
from shared.enrolment.exchange import Doors, EnrolmentAnswer, EnrolmentRequest
from shared.enrolment.lapsed import LapsedRequest, ask, fingerprint
from shared.signing import Label, claimed_payload, sign_statement
from tests.vectors.given import HOST, TIME, Files, Scenario, as_file, b64, bytes_of, signer

_REFUSED = {"result": "refused", "error": "Malformed"}
_SECRET, _FINGERPRINT = bytes_of("enrolment secret", 16), bytes_of("CA certificate", 32)


def scenarios() -> Files:
    return {f"enrolment/{name}.json": text for name, text in (_codes() | _requests() | _answers() | _lapsed()).items()}


def _codes() -> Files:
    text = EnrolmentCode(_SECRET, _FINGERPRINT).text()
    zeros = EnrolmentCode(bytes(16), bytes(32)).text()
    at = len("LG1-") + 9
    wrong = "7" if text[at] != "7" else "8"
    first, second = text[4], text[5]
    good = {
        "ok": ("A code as it is shown.", text),
        "ok-lower-case": ("In lower case.", text.lower()),
        "ok-no-dashes": ("Without dashes.", text.replace("-", "")),
        "ok-spaces": ("With spaces and a line break instead of dashes.", f" {text.replace('-', ' ')}\n"),
        "ok-odd-groups": ("Grouped otherwise.", "LG1" + "-".join(text[3:].replace("-", ""))),
    }
    alike = {
        "ok-letter-o": ("Letter O for every zero.", zeros.replace("0", "O")),
        "ok-letter-i": ("Letter I for every one after the prefix.", "LG1-" + zeros[4:].replace("1", "I")),
        "ok-letter-l": ("Letter l for every one after the prefix.", "LG1-" + zeros[4:].lower().replace("1", "l")),
    }
    bad = {
        "bad-one-character": ("One character mistyped.", text[:at] + wrong + text[at + 1 :]),
        "bad-transposed": ("Two neighbours exchanged.", text[:4] + second + first + text[6:]),
        "bad-last-character": ("The last character mistyped.", text[:-1] + ("0" if text[-1] != "0" else "1")),
        "bad-short": ("One character left out.", text[:9] + text[10:]),
        "bad-long": ("One character more.", text + "0"),
        "bad-letter-u": ("U is not in the alphabet.", text[:at] + "U" + text[at + 1 :]),
        "bad-prefix": ("Another version.", "LG2" + text[3:]),
        "bad-no-prefix": ("Without LG1.", text[4:]),
        "bad-not-ascii": ("A digit of another script.", text[:at] + "٣" + text[at + 1 :]),
        "bad-empty": ("Nothing.", ""),
    }
    parsed = {"result": "parsed", "secret_hex": _SECRET.hex(), "ca_sha256_hex": _FINGERPRINT.hex(), "text": text}
    nothing = {"result": "parsed", "secret_hex": bytes(16).hex(), "ca_sha256_hex": bytes(32).hex(), "text": zeros}
    refused = {"result": "refused", "error": "CodeUnreadable"}
    cases = [(name, case, parsed) for name, case in good.items()]
    cases += [(name, case, nothing) for name, case in alike.items()]
    cases += [(name, case, refused) for name, case in bad.items()]
    return {
        f"code-{name}": as_file({"about": about, "kind": "code", "given": {"text": typed}, "expect": expect})
        for name, (about, typed), expect in cases
    }


def _csr(label: str) -> str:
    """A certificate request; its subject says nothing, because the control plane names the host."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return (
        builder.sign(signer(label).key, hashes.SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.PEM).decode()
    )


def _certificate(label: str, unit: str) -> str:
    names = [
        x509.NameAttribute(NameOID.COMMON_NAME, str(HOST)),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
    ]
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Leadglass test vectors CA")])
    builder = x509.CertificateBuilder().subject_name(x509.Name(names)).issuer_name(issuer)
    builder = builder.not_valid_before(TIME).not_valid_after(TIME + timedelta(days=7))
    builder = builder.serial_number(int.from_bytes(bytes_of(f"serial {label}", 15)))
    builder = builder.public_key(signer(label).key.public_key())
    signed = builder.sign(signer("CA").key, hashes.SHA256(), ecdsa_deterministic=True)
    return signed.public_bytes(Encoding.PEM).decode()


def _parsing(kind: str, name: str, about: str, data: bytes, expect: Scenario | None = None) -> tuple[str, str]:
    given = {"bytes_base64": b64(data)}
    return f"{kind}-{name}", as_file({"about": about, "kind": kind, "given": given, "expect": expect or _REFUSED})


def _requests() -> Files:
    good = EnrolmentRequest(_SECRET, _csr("host TLS"), _csr("host"), "CT 2, room 1.14").encode()
    value = json.loads(good)

    def with_(**members: canonical.Json) -> bytes:
        return canonical.encode({**value, **members})

    parsed = {"result": "parsed", "asset": "CT 2, room 1.14", "secret_hex": _SECRET.hex()}
    csr = value["tls_csr"]
    cases: list[tuple[str, str, bytes, Scenario | None]] = [
        ("ok", "An enrolment request.", good, parsed),
        ("ok-machine", "With what identifies the machine.", with_(machine=["0a" * 32, "0b" * 32]), parsed),
        ("bad-machine-none", "A list of no digest.", with_(machine=[]), None),
        ("bad-machine-too-many", "Five digests.", with_(machine=[f"{number:064x}" for number in range(5)]), None),
        ("bad-machine-twice", "One digest twice.", with_(machine=["0a" * 32, "0a" * 32]), None),
        ("bad-machine-short", "A digest of 31 bytes.", with_(machine=["0a" * 31]), None),
        ("bad-machine-capitals", "A digest in capitals.", with_(machine=["0A" * 32]), None),
        ("bad-version", "Version 2.", with_(v=2), None),
        ("bad-secret-short", "A secret of 15 bytes.", with_(secret=b64(_SECRET[:15])), None),
        ("bad-secret-long", "A secret of 17 bytes.", with_(secret=b64(_SECRET + b"\0")), None),
        (
            "bad-csr-not-pem",
            "A certificate request in DER and base64.",
            with_(tls_csr="".join(csr.split("\n")[1:-2])),
            None,
        ),
        ("bad-csr-two", "Two certificate requests in one text.", with_(tls_csr=csr + csr), None),
        ("bad-csr-crlf", "A certificate request with CRLF.", with_(tls_csr=csr.replace("\n", "\r\n")), None),
        (
            "bad-csr-too-long",
            "More than 8,192 characters.",
            with_(tls_csr=csr.replace("\nMI", "\n" + "A" * 8192 + "MI", 1)),
            None,
        ),
        ("bad-asset-too-long", "An asset of 101 characters.", with_(asset="a" * 101), None),
        ("bad-asset-control-character", "A tab in the asset.", with_(asset="CT\t2"), None),
        ("bad-field-unknown", "A field more.", with_(host="host-" + "0" * 32), None),
        ("bad-empty", "No bytes.", b"", None),
    ]
    return dict(_parsing("request", *case) for case in cases)


def _lapsed() -> Files:
    host, csr = signer("host"), _csr("fresh TLS")
    good = ask(host, HOST, csr, TIME)
    said = json.loads(claimed_payload(good.signed))

    def saying(**members: canonical.Json) -> bytes:
        signed = sign_statement(host, Label.LAPSED_ASK, canonical.encode({**said, **members}))
        return LapsedRequest(signed, csr).encode()

    def labelled(label: Label) -> bytes:
        return LapsedRequest(sign_statement(host, label, claimed_payload(good.signed)), csr).encode()

    value = json.loads(good.encode())
    flipped = LapsedRequest(good.signed[:-1] + bytes([good.signed[-1] ^ 1]), csr)
    stranger, other = ask(signer("vault"), HOST, csr, TIME), LapsedRequest(good.signed, _csr("host TLS"))
    short = fingerprint(signer("fresh TLS").key.public_key())
    ok = {"result": "verified", "payload": said, "fingerprint": short}
    cases: list[tuple[str, str, bytes, str | None]] = [
        ("ok", "The ask of a host that has no certificate left.", good.encode(), None),
        ("bad-another-key", "Signed with another evidence key.", stranger.encode(), "WrongSigner"),
        ("bad-signature", "A bit of the signature is another.", flipped.encode(), "SignatureInvalid"),
        ("bad-label", "A host state's label.", labelled(Label.HOST_STATE), "SignatureInvalid"),
        ("bad-another-request", "A certificate request that was not signed.", other.encode(), "Malformed"),
        ("bad-version", "Version 2 of the statement.", saying(v=2), "Malformed"),
        ("bad-host", "No host id.", saying(host="CT 2"), "Malformed"),
        ("bad-field-unknown", "A field more in the statement.", saying(why="please"), "Malformed"),
        ("bad-time", "A time without a fraction.", saying(time="2026-03-01T08:00:00Z"), "Malformed"),
        ("bad-ask-too-long", "A statement of more than 1,024 bytes.", saying(host="host-" + "0" * 1024), "Malformed"),
        ("bad-csr-not-pem", "No PEM.", canonical.encode({**value, "tls_csr": "MIIB"}), "Malformed"),
        ("bad-empty", "No bytes.", b"", "Malformed"),
    ]  # fmt: skip
    return {
        f"lapsed-{name}": as_file({
            "about": about,
            "kind": "lapsed",
            "given": {"bytes_base64": b64(data), "spki_base64": b64(host.public.spki)},
            "expect": ok if error is None else {"result": "refused", "error": error},
        })
        for name, about, data, error in cases
    }  # fmt: skip


def _answers() -> Files:
    certificates = _certificate("host TLS", "host"), _certificate("host", "evidence")
    hash_key, doors = bytes_of("SOP hash key", 32), Doors("127.0.0.1", 8443, 8883)
    good = EnrolmentAnswer(HOST, *certificates, hash_key, doors, b"{root}", ("organisation",)).encode()
    value = json.loads(good)

    def with_(**members: canonical.Json) -> bytes:
        return canonical.encode({**value, **members})

    def doors_with(**members: canonical.Json) -> bytes:
        return with_(doors={**value["doors"], **members})

    parsed = {"result": "parsed", "host": str(HOST), "layers": ["organisation"], "policy_root": "{root}"}
    cases: list[tuple[str, str, bytes, Scenario | None]] = [
        ("ok", "An enrolment answer.", good, {**parsed, "mqtt_port": 8883}),
        (
            "ok-no-broker",
            "No broker: policy is pulled over HTTPS.",
            doors_with(mqtt_port=None),
            {**parsed, "mqtt_port": None},
        ),
        (
            "ok-broker-elsewhere",
            "A broker that others run, under an authority of its own.",
            doors_with(mqtt_host="broker.example", mqtt_ca=certificates[0]),
            {**parsed, "mqtt_port": 8883},
        ),
        (
            "ok-chain",
            "A certificate, and that of the authority which issued it.",
            with_(tls_certificate="".join(certificates)),
            {**parsed, "mqtt_port": 8883},
        ),
        (
            "ok-enrolment-door",
            "Where the enrolment door is.",
            doors_with(enrol_port=8441),
            {**parsed, "mqtt_port": 8883},
        ),
        ("bad-enrolment-door", "An enrolment door at port 0.", doors_with(enrol_port=0), None),
        (
            "bad-broker-ca-two",
            "Two certificates as a broker's authority.",
            doors_with(mqtt_ca="".join(certificates)),
            None,
        ),
        (
            "bad-chain-too-long",
            "Nine certificates.",
            with_(tls_certificate=certificates[0] * 9),
            None,
        ),
        ("bad-broker-null", "A broker's address that is null.", doors_with(mqtt_host=None), None),
        ("bad-broker-ca", "A broker's authority that is not PEM.", doors_with(mqtt_ca="MIIB"), None),
        ("bad-version", "Version 2.", with_(v=2), None),
        ("bad-host-id", "A host id without its prefix.", with_(host=HOST.raw.hex()), None),
        ("bad-certificate", "A certificate that is not PEM.", with_(tls_certificate="MIIB"), None),
        ("bad-hash-key-short", "A key of 31 bytes.", with_(sop_hash_key=b64(hash_key[:31])), None),
        ("bad-door-with-scheme", "An address with a scheme.", doors_with(host="https://centre"), None),
        ("bad-door-with-port", "An address with a port.", doors_with(host="centre:8443"), None),
        ("bad-port-zero", "Port 0.", doors_with(https_port=0), None),
        ("bad-port-too-large", "Port 65,536.", doors_with(https_port=65_536), None),
        ("bad-door-field-unknown", "A door more.", doors_with(ftp_port=21), None),
        ("bad-layer-path", "A layer that is a path.", with_(layers=["../../etc"]), None),
        ("bad-layer-number", "A layer that is a number.", with_(layers=[1]), None),
        ("bad-layers-too-many", "Nine layers.", with_(layers=["organisation"] * 9), None),
        (
            "bad-field-missing",
            "No policy root.",
            canonical.encode({k: value[k] for k in value if k != "policy_root"}),
            None,
        ),
        ("bad-empty", "No bytes.", b"", None),
    ]
    return dict(_parsing("answer", *case) for case in cases)
