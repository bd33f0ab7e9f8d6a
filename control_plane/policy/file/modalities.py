"""Reads who may send: `modalities`."""

from control_plane.policy.file.peers import AE_TITLE_EXPECTED, read_commitment
from control_plane.policy.file.values import Section, Value, once
from shared.errors import Malformed
from shared.policy.document import (
    MAX_ADDRESSES,
    MAX_CERTIFICATES,
    MAX_DESCRIPTION_CHARS,
    MAX_MODALITIES,
    MAX_STATION_CHARS,
    MODALITY_PATTERN,
    AfterReceipt,
    Modality,
    Station,
)
from shared.policy.routes import AE_TITLE_PATTERN, FINGERPRINT_PATTERN, address_range

_OPTIONAL = ("addresses", "certificates", "commitment", "export_folder", "station")
_DESCRIPTION_PATTERN = rf"[^\x00-\x1f\x7f]{{1,{MAX_DESCRIPTION_CHARS}}}"
_STATION_PATTERN = rf"[^\x00-\x1f\x7f]{{1,{MAX_STATION_CHARS}}}"


def read_modalities(
    value: Value | None, *, has_trust: bool, seen: dict[str, Value] | None = None
) -> tuple[Modality, ...]:
    """`seen` has the AE titles that are listed before these, and gets these too."""
    seen = {} if seen is None else seen
    items = () if value is None else value.items(MAX_MODALITIES)
    return tuple(_modality(item, seen, has_trust=has_trust) for item in items)


def _modality(value: Value, seen: dict[str, Value], *, has_trust: bool) -> Modality:
    section = value.section(("ae_title", "description"), _OPTIONAL)
    ae_title = section.text("ae_title", AE_TITLE_PATTERN, AE_TITLE_EXPECTED)
    once(seen, ae_title, section.get("ae_title"))
    commitment, folder, station = (section.get(name) for name in ("commitment", "export_folder", "station"))
    return Modality(
        ae_title,
        section.text(
            "description", _DESCRIPTION_PATTERN, f"expected 1 to {MAX_DESCRIPTION_CHARS} characters on one line"
        ),
        addresses=_addresses(section),
        certificates=_certificates(section, has_trust=has_trust),
        commitment=None if commitment is None else read_commitment(commitment),
        export_folder=None if folder is None else AfterReceipt(folder.choice(AfterReceipt)),
        station=None if station is None else _station(station),
    )


def _addresses(section: Section) -> tuple[str, ...]:
    expected = "expected an IP address or a network such as 192.0.2.0/24"
    found = section.texts("addresses", r"[0-9a-f.:/]+", expected, MAX_ADDRESSES)
    for text, at in found:
        try:
            address_range(text)
        except Malformed as exc:
            at.problem(exc.why)
    return tuple(text for text, _ in found)


def _certificates(section: Section, *, has_trust: bool) -> tuple[str, ...]:
    expected = "expected the SHA-256 fingerprint of a certificate: 64 digits 0 to 9 and a to f, without colons"
    found = section.texts("certificates", FINGERPRINT_PATTERN, expected, MAX_CERTIFICATES)
    listed = section.get("certificates")
    if found and listed is not None and not has_trust:
        listed.problem("needs dicom_trust, the certificates that modalities' own are issued by; add it to the policy")
    return tuple(text for text, _ in found)


def _station(value: Value) -> Station:
    section = value.section(("modality",), ("station_name",))
    return Station(
        section.text("modality", MODALITY_PATTERN, "expected a modality as in (0008,0060), such as CT"),
        section.text("station_name", _STATION_PATTERN, f"expected 1 to {MAX_STATION_CHARS} characters on one line"),
    )
