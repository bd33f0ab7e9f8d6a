"""Makes the phantom: a synthetic image in memory that says of itself, in several places, that it is nobody's."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

from shared.identity import RandomBytes
from shared.self_test import phantom

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_SIDE = 128
_SAYS = "LEADGLASS SELF-TEST. SYNTHETIC PHANTOM, NO PATIENT."


@dataclass(frozen=True)
class Phantom:
    sop_instance_uid: str
    dataset: bytes

    @property
    def sha256(self) -> bytes:
        return sha256(self.dataset).digest()


def make_phantom(now: datetime, random_bytes: RandomBytes = secrets.token_bytes) -> Phantom:
    """Return an image that nobody has captured before: its UIDs and its noise are fresh."""
    study, series, instance = (_fresh_uid(random_bytes) for _ in range(3))
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = SECONDARY_CAPTURE, instance
    image.StudyInstanceUID, image.SeriesInstanceUID = study, series
    image.StudyDate = image.ContentDate = now.strftime("%Y%m%d")
    image.StudyTime = image.ContentTime = now.strftime("%H%M%S")
    image.PatientID, image.PatientName = phantom.PATIENT_ID, phantom.PATIENT_NAME
    image.PatientBirthDate = image.PatientSex = ""
    image.AccessionNumber = image.ReferringPhysicianName = image.StudyID = ""
    image.Modality, image.ConversionType = "OT", "SYN"
    image.Manufacturer, image.SeriesNumber, image.InstanceNumber = "Leadglass", "1", "1"
    image.StudyDescription = image.SeriesDescription = image.ImageComments = _SAYS
    image.QualityControlImage, image.BurnedInAnnotation = phantom.QUALITY_CONTROL_IMAGE, "NO"
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows = image.Columns = _SIDE
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    image.PixelData = bytes(_grid(random_bytes(_SIDE * _SIDE)))
    return Phantom(str(instance), _encoded(image))


def _grid(noise: bytes) -> Iterable[int]:
    """Yield a ramp with lines across it, which no body looks like, and noise in its lowest bits."""
    for at, random in enumerate(noise):
        row, column = divmod(at, _SIDE)
        line = 128 if row % 16 == 0 or column % 16 == 0 else 0
        yield (row // 2 + column // 2) % 128 & 0x7C | line | random & 3


def _fresh_uid(random_bytes: RandomBytes) -> UID:
    # PS3.5 section B.2: 2.25 and a number of 128 bits.
    return UID(f"2.25.{int.from_bytes(random_bytes(16))}")


def _encoded(image: Dataset) -> bytes:
    out = BytesIO()
    written = DicomIO(out)
    written.is_little_endian, written.is_implicit_VR = True, False
    write_dataset(written, image)
    return out.getvalue()
