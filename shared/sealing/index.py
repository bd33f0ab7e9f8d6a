"""The sealed index: what the index service needs to find an object, sealed beside it.

    box       = HPKE box labelled INDEX, bound to the binding, holding salt (32) || canonical JSON
    committed = SHA-256(salt || canonical JSON), which the capture record carries

Only the index service opens it; it keeps blind indexes (keyed hashes), never the values.
docs/formats/sealed-object.md section 5
"""

from dataclasses import dataclass
from hashlib import sha256

from shared import canonical
from shared.errors import IntegrityFailure
from shared.fields import Fields
from shared.identity import ObjectId
from shared.sealing.binding import Binding
from shared.sealing.hpke import Boxes, BoxLabel, SealingPrivateKey

_SALT_BYTES = 32
# DICOM PS3.5 table 6.2-1: PN has up to three groups of 64 characters, LO and SH fewer.
_MAX_CHARS = 324


class IndexMismatch(IntegrityFailure):
    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"sealed index of object {object_id} is not the one its capture record commits to")
        self.object_id = object_id


@dataclass(frozen=True)
class IndexEntry:
    """The attributes of one image that people look for; empty text where the image has none.

    `evaluated` is False when the dataset could not be read: the values are then absent, not known to be empty.
    """

    evaluated: bool
    patient_id: str
    patient_name: str
    issuer_of_patient_id: str
    accession_number: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str

    def encode(self) -> bytes:
        return canonical.encode({"v": 1, **self.__dict__})

    @classmethod
    def parse(cls, data: bytes) -> "IndexEntry":
        """Raises Malformed; the error names the field and never its value."""
        fields = Fields(canonical.parse(data, "sealed index"), "sealed index")
        fields.version()
        evaluated = fields.flag("evaluated")
        names = [name for name in cls.__dataclass_fields__ if name != "evaluated"]
        values = {name: fields.text(name, r"(?s:.*)", max_chars=_MAX_CHARS) for name in names}
        fields.done()
        return cls(evaluated, **values)


@dataclass(frozen=True)
class SealedIndex:
    box: bytes
    commitment: bytes


def seal_index(entry: IndexEntry, binding: Binding, key: Boxes, salt: bytes) -> SealedIndex:
    """Seal `entry` beside `binding`; `salt` is 32 fresh random bytes."""
    salted = salt + entry.encode()
    return SealedIndex(key.seal(BoxLabel.INDEX, binding.encode(), salted), sha256(salted).digest())


def open_index(index: SealedIndex, binding: Binding, key: SealingPrivateKey) -> IndexEntry:
    """Return the entry that the capture record committed to.

    Raises BoxNotAuthentic, WrongKey, Malformed, IndexMismatch.
    """
    salted = key.open(BoxLabel.INDEX, binding.encode(), index.box)
    if sha256(salted).digest() != index.commitment:
        raise IndexMismatch(binding.object_id)
    return IndexEntry.parse(salted[_SALT_BYTES:])
