# ruff: noqa: RUF001 (Chinese has punctuation of its own)
"""A wipe's certificate: made once, with its record, of nothing but what is proved; read by others' programs too."""

import dataclasses
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from asn1crypto import pem as asn1_pem
from asn1crypto import x509 as asn1_x509
from pyhanko.keys import load_cert_from_pemder
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import validate_pdf_signature
from pyhanko.sign.validation.status import PdfSignatureStatus
from pyhanko_certvalidator import ValidationContext

from control_plane.audit_log.evidence_keys import NotCertified
from control_plane.enrolment import authority
from control_plane.paper.attachment import attached_file
from control_plane.sanitize.certifying import NotCertifiedYet, NotToBeCertified, StatementAltered
from control_plane.sanitize.pades import TimeAuthorityUnavailable
from provisioning.verify.certificate import parse_trust
from provisioning.verify.wipe_certificate import judge_certificate, judge_page
from shared.audit.events import Event
from shared.policy.wipe import LeastClass
from shared.sanitization.certificate import ATTACHMENT, Facts, WipeCertificate
from shared.sanitization.destruction import Destruction
from shared.sanitization.judged import Result
from shared.sanitization.report import Considered, Ending, HiddenArea, HiddenKind, HiddenState
from shared.sanitization.technique import Available, Technique
from shared.sanitization.ticket import Ticket
from tests.control_plane.sanitize.certified import FACTS, CertifyingDesk
from tests.control_plane.vault.bench import Bench
from tests.fakes.time_authority import TimeAuthority, time_authority
from tests.shared.sanitization import wipes
from tests.shared.sanitization.tickets import ADA, CAI


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("centre"))


@pytest.fixture
def desk(tmp_path: Path) -> CertifyingDesk:
    return CertifyingDesk(Bench(tmp_path / "centre"))


@pytest.fixture(scope="module")
def pdf(bench: Bench) -> bytes:
    desk = CertifyingDesk(bench)
    return desk.certified(desk.done(desk.approved())).pdf


def test_what_is_proved_is_certified_once_and_given_out_the_same_each_time(desk: CertifyingDesk) -> None:
    ticket = desk.done(desk.approved())
    verified = desk.state(ticket)
    released = desk.certified(ticket)
    again = desk.certified(ticket, Facts(location="elsewhere"), by="Bea")
    statement = WipeCertificate.parse(released.file).body.statement

    assert (verified, desk.state(ticket)) == ("verified", "certified")
    assert again == released
    assert desk.events().count(Event.WIPE_CERTIFIED) == 1
    assert (statement.judged.result, statement.certified_by, statement.facts) == (
        Result.CLEARED_VERIFIED, "Cai", FACTS,
    )  # fmt: skip
    assert [one.name for one in statement.approvals] == ["Bea"]
    assert attached_file(released.pdf, ATTACHMENT, "PDF") == released.file
    assert desk.bench.reading.prove()["control-plane"].json()["state"] == "verified"


@pytest.mark.parametrize(
    "spoilt",
    [
        {"ending": Ending.FAILED},
        {"ending": Ending.ABORTED},
        {"ending": Ending.UNKNOWN},
        {"ending": Ending.REFUSED, "steps": (), "checks": ()},
        {"checks": ()},
        {"medium_after": None},
        {"steps": (wipes.random_pass(seed=bytes(32)),)},
    ],
)
def test_no_other_end_gets_a_certificate(desk: CertifyingDesk, spoilt: dict[str, object]) -> None:
    ticket = desk.done(desk.approved(), **spoilt)
    with pytest.raises(NotToBeCertified):
        desk.certified(ticket)
    with pytest.raises(NotCertifiedYet):
        desk.fetch(ticket.ticket_id)

    assert desk.state(ticket) != "certified"
    assert Event.WIPE_CERTIFIED not in desk.events()


def test_nothing_is_certified_before_the_host_reported(desk: CertifyingDesk) -> None:
    with pytest.raises(NotToBeCertified, match="proved nothing"):
        desk.certified(desk.approved())


def test_approvals_have_to_count_by_what_policy_says_now(desk: CertifyingDesk) -> None:
    ticket, people = desk.done(desk.approved()), desk.people
    desk.people = type(people)((ADA.public, CAI.public), 1, people.names)
    with pytest.raises(NotToBeCertified, match="0 of 1"):
        desk.certified(ticket)

    desk.people = people
    assert desk.certified(ticket).pdf


def test_a_report_that_was_changed_in_the_database_is_not_certified(desk: CertifyingDesk) -> None:
    ticket = desk.done(desk.approved())
    stranger = desk.signed(wipes.report_of(ticket), CAI)
    desk.bench.sql("UPDATE wipe_reports SET signed = :signed WHERE order_id = :order", signed=stranger,
                   order=str(ticket.ticket_id))  # fmt: skip

    with pytest.raises(Exception, match="key") as caught:
        desk.certified(ticket)
    assert type(caught.value).__name__ in ("WrongSigner", NotCertified.__name__)


def test_what_was_signed_with_no_valid_certificate_is_not_certified(tmp_path: Path) -> None:
    desk = CertifyingDesk(Bench(tmp_path))
    desk.clock.advance(timedelta(days=400))
    ticket = desk.done(desk.approved())

    with pytest.raises(NotToBeCertified, match=r"host-[0-9a-f]+ had no valid certificate"):
        desk.certified(ticket)


def test_a_renewal_between_statement_and_file_leaves_what_was_valid_then(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    desk = CertifyingDesk(bench)
    ticket = desk.done(desk.approved())
    desk.certifying.certify("Cai", ticket.ticket_id, FACTS)
    desk.clock.advance(timedelta(days=300))
    authority.issue_own(bench.database, bench.ca, bench.ca, bench.keys, "localhost")

    assert judge_certificate(desk.fetch(ticket.ticket_id).file, parse_trust(bench.ca.pem, "root"), None).ok


def test_a_statement_that_was_put_into_the_database_certifies_nothing(desk: CertifyingDesk) -> None:
    good, bad = desk.done(desk.approved()), desk.done(desk.approved(), checks=())
    desk.certified(good)
    desk.bench.sql("INSERT INTO wipe_certificates (order_id, made, statement) SELECT :bad, made, statement "
                   "FROM wipe_certificates WHERE order_id = :good", bad=str(bad.ticket_id),
                   good=str(good.ticket_id))  # fmt: skip

    assert desk.state(bad) != "certified"
    with pytest.raises(StatementAltered):
        desk.fetch(bad.ticket_id)
    with pytest.raises(StatementAltered):
        desk.certified(bad)


def test_no_order_is_given_the_certificate_of_another(desk: CertifyingDesk) -> None:
    one, other = desk.done(desk.approved()), desk.done(desk.approved())
    for ticket in (one, other):
        desk.certified(ticket)
    desk.bench.sql("UPDATE wipe_certificates SET file = (SELECT file FROM wipe_certificates WHERE order_id = :other) "
                   "WHERE order_id = :one", one=str(one.ticket_id), other=str(other.ticket_id))  # fmt: skip

    with pytest.raises(StatementAltered):
        desk.fetch(one.ticket_id)


def test_a_destruction_is_certified_as_people_s_word_and_no_more(desk: CertifyingDesk, tmp_path: Path) -> None:
    ticket = desk.approved()
    desk.desk.orders.destroyed("Dan", ticket.ticket_id, "Eve", "shredder HSM 3, H-5", ["ab" * 32])
    released = desk.certified(ticket)
    statement = WipeCertificate.parse(released.file).body.statement
    report = judge_page(released.pdf, parse_trust(desk.bench.ca.pem, "root"), None)
    text = shown(released.pdf, tmp_path)

    assert (statement.judged.result, statement.reported) == (Result.DESTROYED, None)
    assert report.ok
    assert "people stated this" in report.conclusion
    assert "Nothingthatisknown" not in text
    assert all(
        one in text
        for one in ("Notlookedinto", "DESTROYED,bypeople'sword", "Eve", "shredderHSM3,H-5", "ab" * 32, "见证人")
    )


def test_a_destruction_that_no_record_tells_of_is_neither_shown_nor_certified(desk: CertifyingDesk) -> None:
    written, edited = desk.approved(), desk.approved()
    desk.desk.orders.destroyed("Dan", edited.ticket_id, "Eve", "shredder HSM 3, H-5", [])
    told = Destruction.of("Dan", "Cai", "shredder HSM 3, H-5", [], desk.clock.now()).encode()
    for ticket in (written, edited):
        desk.bench.sql("UPDATE wipe_orders SET destruction = :told WHERE order_id = :one",
                       told=told, one=str(ticket.ticket_id))  # fmt: skip

        assert desk.state(ticket) == "not authentic"
        with pytest.raises(NotToBeCertified, match="no record"):
            desk.certified(ticket)


# ---- the page


def shown(pdf: bytes, folder: Path, *options: str) -> str:
    """Return the text of the PDF without blanks, as a line may break anywhere."""
    file = folder / "page.pdf"
    file.write_bytes(pdf)
    text = subprocess.run(["pdftotext", *options, "-layout", str(file), "-"], capture_output=True, check=True).stdout
    return "".join(text.decode().split())


def test_page_one_says_what_counts_in_both_languages(desk: CertifyingDesk, tmp_path: Path) -> None:
    bad_sectors = {"reallocated_sectors": 12}
    ticket = desk.done(desk.approved(), health_after=bad_sectors, hidden=(), interruptions=1, undelivered=-1)
    first = shown(desk.certified(ticket).pdf, tmp_path, "-l", "1")

    for said in (
        "CLEARED,hiddenareanotknown", "隐藏区域状态不明", "CLEAR清除", "S3R1AL4711",
        "thedriveitself(ATAIDENTIFY)", "硬盘自身", "hiddenarea:notknownwhetherthereisone", "(12sectors扇区)",
        "此前已被硬盘重映射的扇区", "whole全部,comparedwiththerandomstream", "67108864of67108864bytes",
        "Dan", "Ada", "Bea", "北区医院NorthHospital", "notstated未说明", "notcounted未统计",
        "itwasinterrupted,andwentontoitsend",
        str(ticket.ticket_id),
        WipeCertificate.parse(desk.fetch(ticket.ticket_id).file).body.statement.sha256,
    ):  # fmt: skip
        assert said in first, said


def test_the_evidence_is_told_in_both_languages_from_the_same_facts(desk: CertifyingDesk, tmp_path: Path) -> None:
    methods = {"techniques": (Technique.NVME_SANITIZE_BLOCK, Technique.OVERWRITE), "least": LeastClass.PURGE}
    ticket = desk.approved(drive=wipes.drive_of(wipes.NVME), **methods)
    facts = {"state_before": "idle", "log_names_run": True, "estimate_s": 20}
    sanitize = wipes.command(
        Technique.NVME_SANITIZE_BLOCK, ended=wipes.at(2), facts=facts, detail="the drive says that it ended well"
    )
    erased = wipes.random_pass(started=wipes.at(5), part="pass 1 of 1", ended=wipes.at(10))
    considered = (
        Considered(Technique.NVME_SANITIZE_BLOCK, Available.YES, "the drive says that it has it"),
        Considered(Technique.ATA_SECURE_ERASE, Available.NO, "the drive is NVMe"),
        Considered(Technique.MMC_SANITIZE, Available.UNKNOWN, "not known: mmc is not installed (package mmc-utils)"),
    )
    desk.done(
        ticket, medium=wipes.NVME, medium_after=dataclasses.replace(wipes.NVME, partitions=()), considered=considered,
        hidden=(HiddenArea(HiddenKind.NAMESPACES, HiddenState.NONE, 0, "the drive is one namespace, and all of it"),),
        steps=(sanitize, erased), checks=(wipes.changed(started=wipes.at(3), ended=wipes.at(4)), wipes.read_back()),
    )  # fmt: skip

    text = shown(desk.certified(ticket).pdf, tmp_path, "-f", "2")

    for english, chinese in (
        ("NVMesanitize,blockerase", "NVMe净化：块擦除:done已完成"),
        ("accepted,seenatwork,completed", "已接受、见其执行、已完成:yes是,yes是,yes是"),
        ("state_before", "(命令前硬盘状态)idle"), ("log_names_run", "(日志记录了本次操作)yes是"),
        ("detail", "详情:thedrivesaysthatitendedwell硬盘报告成功结束"), ("pass1of1", "第1遍，共1遍"),
        ("ATAsecureerase", "ATA安全擦除:no不可用;thedriveisNVMe该硬盘为NVMe接口"),
        ("MMCsanitize", "MMC净化:unknown不明;notknown:mmcisnotinstalled(packagemmc-utils)不明：未安装mmc"),
        ("othernamespaces,unallocatedcapacity", "其他命名空间及未分配容量:none,bythedrive'sownanswer无（"),
        ("thedriveisonenamespace,andallofit", "硬盘只有一个命名空间，并占全部容量"),
        ("seed", "种子:"), ("commitmenttoit", "种子承诺值:"), ("temperature_c", "(温度（°C）)44"),
    ):  # fmt: skip
        assert english + chinese in text, english


def test_nothing_is_cut_however_long_it_is(desk: CertifyingDesk, tmp_path: Path) -> None:
    long = {name: f"{number}长{'甲' * 190}末{number}" for number, name in enumerate(Facts().json())}
    ticket = desk.done(desk.approved(by="A" + "d" * 78 + "a", technician="D" + "a" * 78 + "n"))
    text = shown(desk.certified(ticket, Facts(**long), by="C" + "a" * 78 + "i").pdf, tmp_path)

    assert "A" + "d" * 78 + "a" in text
    assert "D" + "a" * 78 + "n" in text
    assert "C" + "a" * 78 + "i" in text
    assert all(f"末{number}" in text for number in range(len(long)))
    assert "…" not in text


# ---- read by programs that are not ours


def pyhanko_s_judgement(pdf: bytes, bench: Bench, times: ValidationContext | None = None) -> PdfSignatureStatus:
    _, _, root = asn1_pem.unarmor(bench.ca.pem)
    context = ValidationContext(
        trust_roots=[asn1_x509.Certificate.load(root)], allow_fetching=False, moment=bench.clock.now()
    )
    return validate_pdf_signature(PdfFileReader(BytesIO(pdf)).embedded_signatures[0], context, times)


def pdfsig(pdf: bytes, folder: Path, trusted: Bench | None) -> str:
    """Return what a reader says whose certificates have the root of `trusted`, or none."""
    (folder / "signed.pdf").write_bytes(pdf)
    certificates = ["certutil", "-d", f"sql:{folder}"]
    subprocess.run([*certificates, "-N", "--empty-password"], check=True)
    if trusted is not None:
        (folder / "root.pem").write_bytes(trusted.ca.pem)
        imported = ["-A", "-n", "root", "-t", "CT,CT,CT", "-i", str(folder / "root.pem")]
        subprocess.run([*certificates, *imported], check=True)
    command = ["pdfsig", "-nssdir", f"sql:{folder}", str(folder / "signed.pdf")]
    return subprocess.run(command, capture_output=True, check=False, text=True).stdout


def test_readers_that_have_the_hospital_s_root_trust_the_pdf(pdf: bytes, bench: Bench, tmp_path: Path) -> None:
    said, status = pdfsig(pdf, tmp_path, bench), pyhanko_s_judgement(pdf, bench)

    assert "Signature Validation: Signature is Valid." in said
    assert "Certificate Validation: Certificate is Trusted." in said
    assert "Total document signed" in said
    assert (status.intact, status.valid, status.trusted, status.bottom_line) == (True, True, True, True)


def test_readers_find_one_changed_byte(pdf: bytes, bench: Bench, tmp_path: Path) -> None:
    at = pdf.index(b"stream", len(pdf) // 2) + 20
    changed = pdf[:at] + bytes([pdf[at] ^ 1]) + pdf[at + 1 :]

    assert "Signature is Valid." not in pdfsig(changed, tmp_path, bench)
    assert not pyhanko_s_judgement(changed, bench).bottom_line


def test_a_reader_without_the_root_does_not(pdf: bytes, tmp_path: Path) -> None:
    said = pdfsig(pdf, tmp_path, None)

    assert "Signature is Valid." in said
    assert "Certificate is Trusted." not in said


# ---- a time authority


@pytest.fixture(scope="module")
def stamping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TimeAuthority]:
    with time_authority(tmp_path_factory.mktemp("tsa")) as authority:
        yield authority


def certified_under(bench: Bench, authority: TimeAuthority) -> tuple[CertifyingDesk, Ticket]:
    desk = CertifyingDesk(bench, authority.url)
    return desk, desk.done(desk.approved())


def test_where_there_is_a_time_authority_its_timestamp_is_in_the_pdf(bench: Bench, stamping: TimeAuthority) -> None:
    stamping.answer = None
    desk, ticket = certified_under(bench, stamping)
    released = desk.certified(ticket)
    root = load_cert_from_pemder(str(stamping.certificate))
    times = ValidationContext(trust_roots=[root], allow_fetching=False)
    status = pyhanko_s_judgement(released.pdf, bench, times)
    report = judge_page(released.pdf, parse_trust(bench.ca.pem, "root"), None)

    assert status.timestamp_validity is not None
    assert (status.timestamp_validity.valid, status.timestamp_validity.trusted, status.intact) == (True, True, True)
    assert len(stamping.asked) >= 1
    assert report.ok
    assert "timestamp of the PDF" in report.conclusion, "whose timestamp it is was not judged, and that is said"


@pytest.mark.parametrize("answer", [(500, b""), (200, b"no timestamp"), (302, b""), (200, bytes(70_000)), (200, None)])
def test_without_its_timestamp_no_pdf_goes_out(
    bench: Bench, stamping: TimeAuthority, answer: tuple[int, bytes | None]
) -> None:
    status, body = answer
    desk, ticket = certified_under(bench, stamping)
    if body is None:  # a genuine timestamp, of something else
        other, of_something_else = certified_under(bench, stamping)
        other.certified(of_something_else)
        body = stamping.stamp(stamping.asked[-1])
    stamping.answer = status, body
    with pytest.raises(TimeAuthorityUnavailable):
        desk.certified(ticket)
    stamping.answer = None

    assert desk.state(ticket) == "certified"
    assert judge_certificate(desk.fetch(ticket.ticket_id).file, parse_trust(bench.ca.pem, "root"), None).ok
