"""The binding: what is known of an object before its first byte, and never changes.

    binding = "LGBIND" || u16 version || u16 suite || object id (16) || host id (16)
              || SOP Instance UID hash (32) || u8 length || transfer syntax UID (ASCII)

Its exact bytes are the `context` of the body and its digest is in the `info` of the wrap, so neither opens beside
another binding.  docs/formats/sealed-object.md section 2
"""

import hmac
import re
import struct
from dataclasses import dataclass
from hashlib import sha256

from shared.errors import Malformed
from shared.identity import UID_PATTERN, HostId, ObjectId

_MAGIC = b"LGBIND"
_VERSION = 1
_SUITE = 1
_HEAD = struct.Struct(">6sHH16s16s32sB")
MAX_UID_CHARS = 64
MAX_BYTES = _HEAD.size + MAX_UID_CHARS


@dataclass(frozen=True)
class Binding:
    object_id: ObjectId
    host_id: HostId
    sop_instance_hash: bytes
    transfer_syntax: str

    def encode(self) -> bytes:
        uid = self.transfer_syntax.encode("ascii")
        ids = (self.object_id.raw, self.host_id.raw, self.sop_instance_hash)
        return _HEAD.pack(_MAGIC, _VERSION, _SUITE, *ids, len(uid)) + uid

    def digest(self) -> bytes:
        return sha256(self.encode()).digest()

    @classmethod
    def parse(cls, data: bytes) -> "Binding":
        """Read a binding that fills `data` exactly. Raises Malformed."""
        if len(data) < _HEAD.size:
            raise Malformed("binding", "shorter than its fixed part")
        magic, version, suite, object_id, host_id, uid_hash, uid_chars = _HEAD.unpack_from(data)
        if (magic, version, suite) != (_MAGIC, _VERSION, _SUITE):
            raise Malformed("binding", f"not an LGBIND of version {_VERSION} and suite {_SUITE}")
        uid = data[_HEAD.size :]
        if len(uid) != uid_chars:
            raise Malformed("binding", "its length does not fit its transfer syntax")
        return cls(ObjectId(object_id), HostId(host_id), uid_hash, checked_uid(uid.decode("latin-1")))


def checked_uid(uid: str) -> str:
    """Return `uid` if it has the form of a DICOM UID (PS3.5 section 9.1). Raises Malformed."""
    if len(uid) > MAX_UID_CHARS or not re.fullmatch(UID_PATTERN, uid):
        raise Malformed("UID", f"expected at most {MAX_UID_CHARS} digits and single dots")
    return uid


def hash_sop_instance(host_key: bytes, sop_instance_uid: str) -> bytes:
    """Return HMAC-SHA-256 of the UID under the host's own key: equal for a host's resends, meaningless elsewhere."""
    return hmac.digest(host_key, b"leadglass SOP instance v1\x00" + sop_instance_uid.encode(), "sha256")
