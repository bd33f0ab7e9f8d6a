"""The outside of what systemd-creds encrypts: by which kind of key, and bound to which state of the machine.

    credential = base64 of: kind of key (16) || sizes of key, block, nonce, tag (4 little-endian each) || nonce
                 || zeros up to a multiple of eight || where a TPM is used: PCR mask (8, little-endian) || ...

    on the disk: public part || "-----BEGIN LEADGLASS TPM CREDENTIAL-----" LF || credential || LF
                 || "-----END LEADGLASS TPM CREDENTIAL-----" LF

systemd 252 src/shared/creds-util.c. Read because systemd-creds decrypts whatever kind it is given: a file that was
exchanged for one under a key that lies on the disk would open too.

What systemd 252 encrypts bound to no PCR at all (`--tpm2-pcrs=`) it does not decrypt: it writes that there is no bank
of PCRs, and refuses to read that. So a PCR is named that nothing changes: 22, which the TCG's PC Client profile keeps
for a dynamic launch (Intel TXT, AMD SKINIT) and lets neither firmware nor operating system extend.
"""

import base64
import binascii

from shared.errors import Malformed

BEGIN = b"-----BEGIN LEADGLASS TPM CREDENTIAL-----\n"
END = b"-----END LEADGLASS TPM CREDENTIAL-----\n"
MAX_BYTES = 64 << 10
# CRED_AES256_GCM_BY_TPM2_HMAC: AES-256-GCM under a key that the TPM alone gives.
BY_TPM_ALONE = bytes.fromhex("0c7cc07b11764591 9c4b0bea08bc20fe")
STILL_PCR = 22
_HEAD_BYTES = 32
_MASK_BYTES = 8


def armour(credential: bytes) -> bytes:
    return BEGIN + credential.strip() + b"\n" + END


def split(content: bytes) -> tuple[bytes, bytes]:
    """Return what stands before the block, and the block; this is empty where there is none."""
    start = content.find(BEGIN)
    return (content, b"") if start < 0 else (content[:start], content[start:])


def parse(block: bytes) -> bytes:
    """Return the credential in a block, once it says that the TPM alone opens it, in whatever state the machine is.

    Raises Malformed.
    """
    if len(block) > MAX_BYTES:
        raise Malformed("TPM credential", f"it has more than {MAX_BYTES} bytes")
    if not (block.startswith(BEGIN) and block.endswith(END)):
        raise Malformed("TPM credential", "expected one block between its two lines")
    credential = block[len(BEGIN) : -len(END)].strip()
    verify_kind(credential)
    return credential


def verify_kind(credential: bytes) -> None:
    """Raise Malformed unless it is encrypted by the TPM alone, and bound to no PCR that anything changes."""
    try:
        data = base64.b64decode(b"".join(credential.split()), validate=True)
    except binascii.Error as exc:
        raise Malformed("TPM credential", "it is not base64") from exc
    if len(data) < _HEAD_BYTES:
        raise Malformed("TPM credential", "it is cut off")
    if data[:16] != BY_TPM_ALONE:
        raise Malformed("TPM credential", "it is encrypted by another key than the TPM's alone")
    nonce_bytes = int.from_bytes(data[24:28], "little")
    mask_at = _HEAD_BYTES + (nonce_bytes + 7) // 8 * 8
    mask = data[mask_at : mask_at + _MASK_BYTES]
    if len(mask) != _MASK_BYTES:
        raise Malformed("TPM credential", "it is cut off")
    if int.from_bytes(mask, "little") != 1 << STILL_PCR:
        raise Malformed(
            "TPM credential", f"it is not bound to PCR {STILL_PCR} and no other, so that an update might end it"
        )
