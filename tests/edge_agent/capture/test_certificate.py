"""The certificate that modalities see: made once, kept, renewed in time, and the hospital's own left alone."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.capture.certificate import DUE, LASTS, DicomCertificate, fingerprint, names_of
from edge_agent.enrol.store import IdentityUnreadable
from edge_agent.host_keys.plain import FILES
from edge_agent.host_keys.store import HostKeyStore
from tests.fakes.clock import FakeClock
from tests.fakes.dicom_pki import expired, of_version_41
from tests.fakes.log import MemoryLog
from tests.vectors.given import TRUST


def certificate_of(file: Path, clock: FakeClock, *names: str) -> DicomCertificate:
    return DicomCertificate(HostKeyStore(file.parent, FILES), names or ("192.0.2.7", "ct-2"), clock, MemoryLog())


def test_it_is_made_at_first_need_and_kept(tmp_path: Path) -> None:
    file, clock = tmp_path / "dicom.pem", FakeClock()
    made = certificate_of(file, clock).ensure()
    again = certificate_of(file, clock).ensure()

    assert fingerprint(made) == fingerprint(again)
    assert file.stat().st_mode & 0o777 == 0o600
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name) for name in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]
    assert names.get_values_for_type(x509.DNSName) == ["ct-2"]
    key = made.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)


def test_ours_is_made_again_in_its_last_week_and_not_before(tmp_path: Path) -> None:
    file, clock = tmp_path / "dicom.pem", FakeClock()
    certificate = certificate_of(file, clock)
    first = fingerprint(certificate.ensure())
    clock.advance(LASTS - DUE - timedelta(seconds=1))
    before = fingerprint(certificate.ensure())
    clock.advance(timedelta(seconds=2))
    after = certificate.ensure()

    assert (first == before, first == fingerprint(after)) == (True, False)
    assert after.not_valid_after_utc > clock.now() + timedelta(days=700)


def test_the_hospital_s_own_is_never_touched(tmp_path: Path) -> None:
    theirs = expired(tmp_path, "hospital")
    file = theirs.chain.rename(tmp_path / "dicom.pem")
    found = certificate_of(file, FakeClock()).ensure()

    assert fingerprint(found) == theirs.sha256


@pytest.mark.parametrize("found", ["not this", of_version_41(TRUST)])
def test_what_is_no_certificate_is_named_and_not_overwritten(tmp_path: Path, found: str) -> None:
    file = tmp_path / "dicom.pem"
    file.write_text(found)
    with pytest.raises(IdentityUnreadable, match=r"dicom\.pem"):
        certificate_of(file, FakeClock()).ensure()

    assert file.read_text() == found


@pytest.mark.parametrize(
    "host, expected",
    [("192.0.2.7", ["192.0.2.7", "ct-2"]), ("0.0.0.0", ["ct-2"]), ("ct-2", ["ct-2"])],  # noqa: S104
)
def test_it_is_for_the_names_under_which_modalities_reach_us(host: str, expected: list[str]) -> None:
    assert names_of(host, lambda: "ct-2") == expected
