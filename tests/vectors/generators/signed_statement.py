"""Makes the scenarios of docs/formats/signed-statement.md: `statement` and `public-key`."""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from shared.signing import Label, sign_statement
from tests.vectors.given import Files, as_file, b64, bytes_of, flip, signer

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def scenarios() -> Files:
    return {f"signed-statement/{name}.json": text for name, text in (_statements() | _public_keys()).items()}


def _statements() -> Files:
    host, label, payload = signer("host"), Label.CAPTURE, b"any payload"
    good = sign_statement(host, label, payload)
    s = int.from_bytes(good[-32:])
    high_s = good[:-32] + (_ORDER - s).to_bytes(32)
    long = (1 << 20) + 1
    cases = {
        "ok": ("A signed statement.", good, ""),
        "ok-empty-payload": ("A statement with an empty payload.", sign_statement(host, label, b""), ""),
        "bad-high-s": ("The other signature that ECDSA would allow: s in the upper half.", high_s, "SignatureInvalid"),
        "bad-wrong-label": (
            "A vault receipt offered as a capture record.", sign_statement(host, Label.RECEIPT, payload),
            "SignatureInvalid",
        ),
        "bad-other-key": (
            "Signed with another key, and naming that one.", sign_statement(signer("stranger"), label, payload),
            "WrongSigner",
        ),
        "bad-key-named-falsely": (
            "Signed with another key, but naming the expected one.",
            good[:8] + host.public.key_id.raw + sign_statement(signer("stranger"), label, payload)[24:],
            "SignatureInvalid",
        ),
        "bad-key-id": ("A bit of the key id is flipped.", flip(good, 8), "WrongSigner"),
        "bad-payload": ("A bit of the payload is flipped.", flip(good, 28), "SignatureInvalid"),
        "bad-r": ("A bit of r is flipped.", flip(good, -33), "SignatureInvalid"),
        "bad-s": ("A bit of s is flipped.", flip(good, -1), "SignatureInvalid"),
        "bad-r-zero": ("r is zero.", good[:-64] + bytes(32) + good[-32:], "SignatureInvalid"),
        "bad-s-zero": ("s is zero.", good[:-32] + bytes(32), "SignatureInvalid"),
        "bad-both-zero": ("r and s are zero.", good[:-64] + bytes(64), "SignatureInvalid"),
        "bad-r-too-large": ("r is the group order.", good[:-64] + _ORDER.to_bytes(32) + good[-32:], "SignatureInvalid"),
        "bad-magic": ("A bit of LGSIGN is flipped.", flip(good, 0), "Malformed"),
        "bad-version": ("It says version 2.", good[:6] + b"\0\2" + good[8:], "Malformed"),
        "bad-length": ("The payload's length is one less than it is.", flip(good, 27), "Malformed"),
        "bad-length-over-the-limit": (
            "The payload claims 1 MiB and one byte.", good[:24] + long.to_bytes(4) + good[28:], "Malformed",
        ),
        "bad-trailing-byte": ("One byte follows the signature.", good + b"\0", "Malformed"),
        "bad-cut": ("The last byte is missing.", good[:-1], "Malformed"),
        "bad-shorter-than-fixed": ("Shorter than head and signature together.", good[:91], "Malformed"),
        "bad-empty": ("No bytes.", b"", "Malformed"),
        "bad-der": (
            "The signature in DER, as libraries give it.",
            good[:-64] + host.sign(b"leadglass capture record v1\0" + payload), "Malformed",
        ),
    }  # fmt: skip
    return {
        name: as_file({
            "about": about, "kind": "statement",
            "given": {"label": label.value, "spki_base64": b64(host.public.spki), "signed_base64": b64(data)},
            "expect": {"result": "refused", "error": error} if error else {
                "result": "verified", "payload_base64": b64(b"" if "empty" in name else payload),
            },
        })
        for name, (about, data, error) in cases.items()
    }  # fmt: skip


def _public_keys() -> Files:
    host = signer("host").public
    compressed = host.key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    algorithm = host.spki[2 : 4 + host.spki[3]]
    short = algorithm + bytes([3, len(compressed) + 1, 0]) + compressed
    p384 = ec.derive_private_key(int.from_bytes(bytes_of("P-384", 40)), ec.SECP384R1()).public_key()
    ed = ed25519.Ed25519PrivateKey.from_private_bytes(bytes_of("Ed25519", 32)).public_key()
    der = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    curve_at = host.spki.index(bytes.fromhex("2a8648ce3d030107"))
    cases = {
        "ok": ("The public key of the host in these vectors.", host.spki),
        "bad-compressed-point": ("The same key with its point compressed.", bytes([0x30, len(short)]) + short),
        "bad-trailing-byte": ("One byte follows.", host.spki + b"\0"),
        "bad-cut": ("The last byte is missing.", host.spki[:-1]),
        "bad-point-off-the-curve": ("The point is not on the curve.", flip(host.spki, -1)),
        "bad-unknown-curve": ("An object identifier that names no curve we know.", flip(host.spki, curve_at + 7, 0x40)),
        "bad-p384": ("A P-384 key.", p384.public_bytes(*der)),
        "bad-ed25519": ("An Ed25519 key.", ed.public_bytes(*der)),
        "bad-empty": ("No bytes.", b""),
    }
    return {
        f"key-{name}": as_file({
            "about": about, "kind": "public-key", "given": {"spki_base64": b64(spki)},
            "expect": {"result": "parsed", "key_id": str(host.key_id)} if name == "ok" else {
                "result": "refused", "error": "Malformed",
            },
        })
        for name, (about, spki) in cases.items()
    }  # fmt: skip
