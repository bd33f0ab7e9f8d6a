"""The real images that the tests send: those which ship inside pydicom's own package, nothing downloaded."""

from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import MediaStorageDirectoryStorage

NAMES = (
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "image_dfl.dcm",
    "JPEG2000.dcm",
    "JPGExtended.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "rtplan.dcm",
    "test-SR.dcm",
    "waveform_ecg.dcm",
    "liver_1frame.dcm",
)


@dataclass(frozen=True)
class Image:
    name: str
    path: Path
    transfer_syntax: str
    sop_class: str
    sop_instance: str
    dataset: bytes  # the encoded dataset, exactly as the file has it


def load(name: str) -> Image:
    return read(Path(str(get_testdata_file(name, download=False))))


def read(path: Path) -> Image:
    meta = read_file_meta_info(path)
    # Group 0002 says how long it is: PS3.10 section 7.1.
    length = int(meta.FileMetaInformationGroupLength)
    start = 128 + 4 + 12 + length
    return Image(
        path.name,
        path,
        str(meta.TransferSyntaxUID),
        str(meta.MediaStorageSOPClassUID),
        str(meta.MediaStorageSOPInstanceUID),
        path.read_bytes()[start:],
    )


def shipped() -> list[Image]:
    """Return every image in pydicom's package that is a file with a whole head."""
    folder = Path(pydicom.__file__).parent / "data"
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.read_bytes()[128:132] == b"DICM"]
    return [read(path) for path in paths if _names_an_image(read_file_meta_info(path))]


def _names_an_image(meta: FileMetaDataset) -> bool:
    needed = ("FileMetaInformationGroupLength", "MediaStorageSOPClassUID", "TransferSyntaxUID")
    return all(meta.get(name) for name in needed) and meta.MediaStorageSOPClassUID != MediaStorageDirectoryStorage
