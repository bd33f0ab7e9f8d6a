"""The forwarding box: what it takes to send one image on, sealed to the host's own forwarding key.

    box  = HPKE box labelled FORWARD, bound to the binding, holding data key (32) || canonical JSON
    JSON = {"sop_class": UID, "sop_instance": UID, "v": 1}, as C-STORE says them; a UID that cannot be sent is empty

The instance UID leads to a patient, so it is in the box and not beside it.  docs/formats/sealed-object.md section 3
"""

from dataclasses import dataclass

from shared import canonical
from shared.fields import Fields
from shared.routes.image import is_sendable
from shared.sealing.chunked import KEY_BYTES
from shared.sealing.hpke import BoxLabel, SealingPrivateKey, SealingPublicKey


@dataclass(frozen=True)
class Contents:
    data_key: bytes
    sop_class_uid: str
    sop_instance_uid: str


def seal(contents: Contents, binding: bytes, key: SealingPublicKey) -> bytes:
    uids = {"sop_class": contents.sop_class_uid, "sop_instance": contents.sop_instance_uid}
    says = canonical.encode({"v": 1, **{name: uid if is_sendable(uid) else "" for name, uid in uids.items()}})
    return key.seal(BoxLabel.FORWARD, binding, contents.data_key + says)


def open_box(box: bytes, binding: bytes, key: SealingPrivateKey) -> Contents:
    """Raises Malformed, WrongKey, BoxNotAuthentic: also where the box lies beside another binding than its own."""
    held = key.open(BoxLabel.FORWARD, binding, box)
    fields = Fields(canonical.parse(held[KEY_BYTES:], "forwarding box"), "forwarding box")
    fields.version()
    contents = Contents(held[:KEY_BYTES], fields.text("sop_class"), fields.text("sop_instance"))
    fields.done()
    return contents
