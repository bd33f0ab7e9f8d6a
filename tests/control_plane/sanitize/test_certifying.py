"""A wipe's certificate: made once, with its record, of nothing but what is proved; read by others' programs too."""

import pytest

from paper.attachment import attached_file
from shared.audit.record import Event
from shared.sanitization.certificate import ATTACHMENT, WipeCertificate
from shared.sanitization.judged import Result
from tests.control_plane.sanitize.certified import CertifyingDesk
from tests.control_plane.vault.bench import Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("centre"))


@pytest.fixture
def desk(bench: Bench) -> CertifyingDesk:
    return CertifyingDesk(bench)


def test_what_is_proved_is_certified_once_and_given_out_the_same_each_time(desk: CertifyingDesk) -> None:
    ticket = desk.done(desk.approved())
    released = desk.certified(ticket)
    again = desk.certified(ticket, by="Bea")

    certificate = WipeCertificate.parse(released.file)
    assert again == released
    assert desk.state(ticket) == "certified"
    assert desk.events().count(Event.WIPE_CERTIFIED) == 1
    assert certificate.body.statement.judged.result is Result.CLEARED_VERIFIED
    assert [one.name for one in certificate.body.statement.approvals] == ["Bea"]
    assert attached_file(released.pdf, ATTACHMENT, "PDF") == released.file
