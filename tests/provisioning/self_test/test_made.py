"""The phantom: nobody's, never the same, and told by what it says of itself."""

from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

import pydicom

from provisioning.self_test.image import routes_of
from provisioning.self_test.made import make_phantom
from shared.policy.document import PolicyDocument
from shared.policy.grading import Grading, Rule
from shared.self_test import phantom
from tests.shared import made

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


def test_a_phantom_is_a_valid_small_image_that_says_it_is_nobodys() -> None:
    one, other = make_phantom(NOW), make_phantom(NOW)
    read = pydicom.dcmread(BytesIO(one.dataset), force=True)

    assert (read.PatientID, str(read.PatientName)) == (phantom.PATIENT_ID, phantom.PATIENT_NAME)
    assert (read.QualityControlImage, read.SOPInstanceUID) == ("YES", one.sop_instance_uid)
    assert "NO PATIENT" in read.ImageComments
    assert len(read.PixelData) == read.Rows * read.Columns
    assert len(one.dataset) < phantom.MAX_BYTES
    assert one.sop_instance_uid != other.sop_instance_uid
    assert one.sha256 != other.sha256


def test_a_policy_that_would_send_it_to_an_archive_is_seen() -> None:
    one = make_phantom(NOW)
    nowhere = Rule((("calling_ae_title", (phantom.AE_TITLE,)),), "restricted", ())

    assert routes_of(graded(Grading("restricted", routes=("pacs",))), one) == ("pacs",)
    assert routes_of(graded(Grading("restricted", rules=(nowhere,), routes=("pacs",))), one) == ()


def graded(grading: Grading) -> PolicyDocument:
    return replace(made.policy(), grading=grading)
