"""The images that the demo's modality sends: real ones, which the pydicom package carries on disk.

Nothing is downloaded. The list covers what a hospital's modalities produce and every family of transfer syntax, and
names of patients in several scripts.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pydicom
import pydicom.data
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import PersonName
from pynetdicom.dsutils import split_dataset

from provisioning.demo.needles import Identity

CHOSEN = (
    "test_files/CT_small.dcm",
    "test_files/693_J2KI.dcm",
    "test_files/dicomdirtests/98892001/CT5N/2062",
    "test_files/dicomdirtests/98892001/CT5N/2392",
    "test_files/examples_overlay.dcm",
    "test_files/MR_small_jpeg_ls_lossless.dcm",
    "test_files/dicomdirtests/77654033/CR1/6154",
    "charset_files/chrJapMulti.dcm",
    "test_files/examples_palette.dcm",
    "test_files/examples_jpeg2k.dcm",
    "test_files/examples_ybr_color.dcm",
    "test_files/ExplVR_BigEnd.dcm",
    "test_files/JPGExtended.dcm",
    "test_files/SC_rgb_jpeg_gdcm.dcm",
    "test_files/image_dfl.dcm",
    "charset_files/chrH31.dcm",
    "charset_files/chrX2.dcm",
    "test_files/rtdose.dcm",
    "test_files/rtdose_rle.dcm",
    "test_files/waveform_ecg.dcm",
    "test_files/reportsi.dcm",
)
# Who it is, and what leads to who it is. Names of staff count, words such as "operator" in their place do not.
_IDENTIFYING = {
    "PatientName", "PatientID", "PatientBirthDate", "PatientBirthName", "PatientMotherBirthName", "OtherPatientIDs",
    "OtherPatientNames", "PatientAddress", "PatientTelephoneNumbers", "MedicalRecordLocator", "AccessionNumber",
    "ReferringPhysicianName", "RequestingPhysician", "StudyID", "StudyInstanceUID", "SeriesInstanceUID",
    "SOPInstanceUID", "FrameOfReferenceUID",
}  # fmt: skip


@dataclass(frozen=True)
class Image:
    """One Part 10 file on disk; the digest is that of its dataset, after group 0002.

    `instance` is the SOP Instance UID that the dataset itself names, which need not be that of group 0002.
    """

    path: Path
    modality: str
    sop_class_uid: str
    sop_instance_uid: str
    instance: str
    transfer_syntax_uid: str
    patient_id: str
    dataset_sha256: str
    dataset_bytes: int
    identities: tuple[Identity, ...]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def transfer_syntax(self) -> str:
        return str(pydicom.uid.UID(self.transfer_syntax_uid).name)

    def dataset(self) -> bytes:
        """Return the encoded dataset as it lies in the file, undecoded."""
        return self.path.read_bytes()[-self.dataset_bytes :]


def shipped_images() -> tuple[Image, ...]:
    """Return the chosen images. Raises FileNotFoundError: this pydicom does not carry one of them."""
    folder = Path(pydicom.data.__file__).parent
    return tuple(read_image(folder / name) for name in CHOSEN)


def read_image(path: Path) -> Image:
    with warnings.catch_warnings():
        # Real devices write values that the standard does not allow; what is sent is the file as it is.
        warnings.simplefilter("ignore")
        meta, offset = split_dataset(path)
        dataset = pydicom.dcmread(path)
        identities = tuple(_identities(dataset))
    encoded = path.read_bytes()[offset:]
    return Image(
        path=path,
        modality=str(dataset.get("Modality", "none")),
        sop_class_uid=str(meta.MediaStorageSOPClassUID),
        sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
        instance=str(dataset.get("SOPInstanceUID") or ""),
        transfer_syntax_uid=str(meta.TransferSyntaxUID),
        patient_id=str(dataset.get("PatientID") or ""),
        dataset_sha256=sha256(encoded).hexdigest(),
        dataset_bytes=len(encoded),
        identities=identities,
    )


def _identities(dataset: Dataset) -> Iterator[Identity]:
    for element in dataset.iterall():
        if element.keyword not in _IDENTIFYING or not element.value:
            continue
        values = element.value if isinstance(element.value, MultiValue | list) else [element.value]
        for value in values:
            raw = value.original_string if isinstance(value, PersonName) else b""
            text = str(value)
            if text.strip("^= -"):
                yield Identity(int(element.tag), element.VR, element.keyword, raw or text.encode(), text)
