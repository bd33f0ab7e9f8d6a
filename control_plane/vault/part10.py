"""The head of a Part 10 file (DICOM PS3.10 section 7.1): preamble, prefix and group 0002, before a dataset."""

from uuid import UUID

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from shared.errors import Malformed, Refused
from shared.identity import ObjectId
from shared.sealing.binding import Binding, checked_uid
from shared.sealing.index import IndexEntry

# PS3.5 section B.2: a UID derived from a UUID, this one made once for Leadglass.
IMPLEMENTATION_CLASS_UID = f"2.25.{UUID('8d1f7c52-6b0e-4c53-9a57-3f2d1e0c4b96').int}"
IMPLEMENTATION_VERSION_NAME = "LEADGLASS_1"


class NoPart10(Refused):
    """The dataset can be had as it is; what a file says about it is not known."""

    def __init__(self, object_id: ObjectId, why: str) -> None:
        super().__init__(f"object {object_id} can be opened as a dataset only: {why}")
        self.object_id, self.why = object_id, why


def head(binding: Binding, entry: IndexEntry) -> bytes:
    """Return what comes before the dataset, which then follows unchanged. Raises NoPart10."""
    if not entry.evaluated:
        raise NoPart10(binding.object_id, "its attributes were not evaluated at capture")
    meta = FileMetaDataset()
    try:
        meta.MediaStorageSOPClassUID = UID(checked_uid(entry.sop_class_uid))
        meta.MediaStorageSOPInstanceUID = UID(checked_uid(entry.sop_instance_uid))
    except Malformed as exc:
        raise NoPart10(binding.object_id, "its SOP Class or Instance UID is not one") from exc
    meta.TransferSyntaxUID = UID(binding.transfer_syntax)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    group_2 = DicomBytesIO()
    write_file_meta_info(group_2, meta, enforce_standard=True)
    return bytes(128) + b"DICM" + group_2.getvalue()
