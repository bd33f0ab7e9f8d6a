"""The demo's images: on disk, of many kinds, and read without being changed."""

from provisioning.demo.disk import identities, pixels
from provisioning.demo.images import CHOSEN, shipped_images
from provisioning.demo.needles import search


def test_covers_several_modalities_and_every_family_of_transfer_syntax() -> None:
    images = shipped_images()

    assert len(images) == len(CHOSEN) >= 12
    assert {"CT", "MR", "CR", "US", "NM"} <= {image.modality for image in images}
    for family in ("Implicit", "Big Endian", "Deflated", "JPEG Baseline", "JPEG 2000", "JPEG-LS", "RLE"):
        assert any(family in image.transfer_syntax for image in images), family


def test_no_two_images_are_the_same() -> None:
    images = shipped_images()

    assert len({image.dataset_sha256 for image in images}) == len(images)
    assert len({image.sop_instance_uid for image in images}) == len(images)


def test_several_images_belong_to_one_patient() -> None:
    numbers = [image.patient_id for image in shipped_images()]

    assert numbers.count("98890234") > 1


def test_every_image_is_found_by_its_identities_or_its_pixels() -> None:
    images = shipped_images()
    wanted = (*identities(images), *pixels(images))

    assert [image.name for image in images if not any(search(image.path.read_bytes(), wanted))] == []
