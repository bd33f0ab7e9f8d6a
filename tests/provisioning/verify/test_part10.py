"""Finding the dataset in a Part 10 file, strictly."""

import io
from pathlib import Path

import pytest

from provisioning.verify.part10 import read_meta
from shared.errors import Malformed
from tests.provisioning.verify.evidence import EXPLICIT_LITTLE, part10

GOOD = part10(b"\x08\x00dataset")


def test_finds_dataset_and_transfer_syntax() -> None:
    meta = read_meta(io.BytesIO(GOOD))

    assert meta.transfer_syntax == EXPLICIT_LITTLE
    assert GOOD[meta.dataset_offset :] == b"\x08\x00dataset"


def test_agrees_with_pydicom_on_its_own_files() -> None:
    data = pytest.importorskip("pydicom.data", reason="pydicom is not installed")
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
    for name in ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "image_dfl.dcm", "ExplVR_BigEnd.dcm"):
        path = Path(data.get_testdata_file(name))
        with path.open("rb") as file:
            meta = read_meta(file)
            assert file.tell() == meta.dataset_offset
        with path.open("rb") as file:
            group = pydicom.filereader.read_preamble(file, False) and pydicom.filereader._read_file_meta_info(file)
            assert (group.TransferSyntaxUID, file.tell()) == (meta.transfer_syntax, meta.dataset_offset)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        GOOD[:131],
        GOOD[:150],
        GOOD[128:],
        GOOD.replace(b"DICM", b"DICX"),
        GOOD[:136] + b"UI" + GOOD[138:],
        GOOD[:140] + b"\xff\xff\xff\xff" + GOOD[144:],
        GOOD[:140] + (GOOD[140] + 1).to_bytes() + GOOD[141:],
        part10(b"", junk=bytes.fromhex("02001000") + b"UI\x02\x001\x00"),
        part10(b"", junk=bytes.fromhex("08000500") + b"CS\x00\x00"),
        part10(b"", junk=bytes.fromhex("02000201") + b"OB\x01\x00\x00\x00\x00\x00"),
        part10(b"", junk=bytes.fromhex("02000201") + b"OB\x00\x00\xff\xff\xff\xff"),
        part10(b"", syntax="not a uid"),
    ],
)
def test_refuses_what_is_not_exactly_one(damaged: bytes) -> None:
    with pytest.raises(Malformed):
        read_meta(io.BytesIO(damaged))
