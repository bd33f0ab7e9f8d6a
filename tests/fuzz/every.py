"""All fuzz targets, by name."""

from tests.fuzz import (
    fuzz_attributes,
    fuzz_console,
    fuzz_descriptors,
    fuzz_device_rules,
    fuzz_dicom,
    fuzz_dimse,
    fuzz_formats,
    fuzz_link,
    fuzz_media,
    fuzz_negotiation,
    fuzz_pdu,
    fuzz_signing,
)
from tests.fuzz.target import Target

EVERY: dict[str, Target] = {
    target.name: target
    for target in (
        fuzz_pdu.TARGET,
        fuzz_dimse.TARGET,
        fuzz_negotiation.TARGET,
        fuzz_attributes.TARGET,
        fuzz_descriptors.TARGET,
        *fuzz_console.TARGETS,
        *fuzz_dicom.TARGETS,
        *fuzz_formats.TARGETS,
        *fuzz_link.TARGETS,
        *fuzz_device_rules.TARGETS,
        *fuzz_media.TARGETS,
        *fuzz_signing.TARGETS,
    )
}
