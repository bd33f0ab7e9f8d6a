"""A real Orthanc over mutual TLS: it has what the modality sent, byte for byte."""

from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.uid import UID

from provisioning.demo.images import Image, shipped_images
from tests.control_plane.fleet.pki import TestCa
from tests.control_plane.routes.bench import RouteBench, route, tls_files
from tests.fakes.orthanc import Orthanc, Remote, Tls, orthanc


def data_set(file: bytes, path: Path) -> bytes:
    """Return what stands behind group 0002 of a Part 10 file."""
    path.write_bytes(file)
    with path.open("rb") as opened:
        pydicom.filereader.read_preamble(opened, force=False)
        pydicom.filereader._read_file_meta_info(opened)
        return opened.read()


def kept(archive: Orthanc, path: Path) -> dict[str, tuple[str, bytes]]:
    found = {}
    for instance in archive.get("/instances"):
        file = archive.get(f"/instances/{instance}/file")
        read = data_set(file, path)
        meta = pydicom.dcmread(path, stop_before_pixels=True)
        found[str(meta.SOPInstanceUID)] = str(meta.file_meta.TransferSyntaxUID), read
    return found


def attributes(data_set: bytes, image: Image) -> list[tuple[int, object]]:
    """Return tags and values, without group lengths and padding, which no sender has to keep (PS3.5 section 7.2)."""
    is_implicit = UID(image.transfer_syntax_uid).is_implicit_VR
    read = pydicom.filereader.read_dataset(BytesIO(data_set), is_implicit, is_little_endian=True)
    return [(element.tag, element.value) for element in read if element.tag.element and element.tag != 0xFFFCFFFC]


# Not as PS3.4 wants them, and DCMTK, on which Orthanc rests, says so: another instance in group 0002 than in the data
# set (the first two), and a fragment that is too short.
NOT_TAKEN = {"chrJapMulti.dcm": "A900", "rtdose.dcm": "A900", "rtdose_rle.dcm": "C000"}


def test_orthanc_keeps_every_image_unchanged(routes: RouteBench, tmp_path: Path) -> None:
    files = tls_files(tmp_path / "pki", TestCa(), routes.ca)
    tls = Tls(files.certificate, files.private_key, files.trusted)
    remotes = {"leadglass": Remote("LEADGLASS", 1)}
    # Orthanc decodes deflated and big-endian images to store them in another syntax; what it keeps as it came counts.
    images = [
        image
        for image in shipped_images()
        if not UID(image.transfer_syntax_uid).is_deflated and UID(image.transfer_syntax_uid).is_little_endian
    ]
    with orthanc(tmp_path / "orthanc", ae_title="PACS", tls=tls, remotes=remotes) as archive:
        to = route(archive.dicom_port, trust=files.trust)
        routes.publish(to)
        for image in images:
            routes.store(
                image.dataset(), uid=image.sop_instance_uid, sop_class_uid=image.sop_class_uid,
                transfer_syntax=image.transfer_syntax_uid,
            )  # fmt: skip

        routes.work(to)
        refused = {image.path.name: why for image, why in zip(images, routes.whys(), strict=True) if why}
        found = kept(archive, tmp_path / "read.dcm")
    assert {name: status for name, status in NOT_TAKEN.items() if f"status {status}" in refused[name]} == NOT_TAKEN
    assert refused.keys() == NOT_TAKEN.keys()
    taken = [image for image in images if image.path.name not in NOT_TAKEN]
    assert {uid: syntax for uid, (syntax, _) in found.items()} == {
        image.sop_instance_uid: image.transfer_syntax_uid for image in taken
    }
    for image in taken:
        assert attributes(found[image.sop_instance_uid][1], image) == attributes(image.dataset(), image)
    # Orthanc writes data sets anew, with lengths of its own; where the sender wrote as DCMTK does, not a bit differs.
    assert sum(found[image.sop_instance_uid][1] == image.dataset() for image in taken) > len(taken) // 4
