"""A real Orthanc over mutual TLS: it has what the modality sent, and then the host opens none of it."""

from pathlib import Path

from pydicom.uid import UID

from provisioning.demo.images import shipped_images
from tests.control_plane.routes.test_orthanc import NOT_TAKEN, attributes, kept
from tests.edge_agent.forward.bench import ForwardBench, route
from tests.fakes.dicom_pki import party
from tests.fakes.orthanc import Remote, Tls, orthanc


def test_orthanc_keeps_every_image_unchanged_and_holds_up_none_by_those_it_refuses(tmp_path: Path) -> None:
    ours, theirs = party(tmp_path / "pki", "host"), party(tmp_path / "pki", "orthanc")
    tls = Tls(theirs.certificate, theirs.key, ours.certificate)
    bench = ForwardBench(tmp_path / "agent", identity=ours.chain)
    # Orthanc decodes deflated and big-endian images to store them in another syntax; what it keeps as it came counts.
    images = [
        image
        for image in shipped_images()
        if not UID(image.transfer_syntax_uid).is_deflated and UID(image.transfer_syntax_uid).is_little_endian
    ]
    remotes = {"leadglass": Remote("LEADGLASS", 1)}
    with orthanc(tmp_path / "orthanc", ae_title="PACS", tls=tls, remotes=remotes) as archive:
        to = route(archive.dicom_port, trust=theirs.pem)
        bench.publish(to)
        for image in images:
            bench.capture(
                image.dataset(), uid=image.sop_instance_uid, sop_class_uid=image.sop_class_uid,
                transfer_syntax=image.transfer_syntax_uid,
            )  # fmt: skip

        bench.work(to)
        found = kept(archive, tmp_path / "read.dcm")
    refused = {image.path.name: why for image, why in zip(images, bench.whys(), strict=True) if why}
    assert {name: status for name, status in NOT_TAKEN.items() if f"status {status}" in refused[name]} == NOT_TAKEN
    assert refused.keys() == NOT_TAKEN.keys()
    taken = [image for image in images if image.path.name not in NOT_TAKEN]
    assert len(taken) > 10
    assert found.keys() == {image.sop_instance_uid for image in taken}
    for image in taken:
        syntax, data_set = found[image.sop_instance_uid]
        assert syntax == image.transfer_syntax_uid
        assert attributes(data_set, image) == attributes(image.dataset(), image)
    assert bench.queue.openable() == len(refused)
