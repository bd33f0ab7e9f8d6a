"""A wipe's certificate in the hands of somebody who trusts nobody: whatever was changed or made up is found."""

import dataclasses
import json
import random
import re
import shlex
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from control_plane.keys import store
from provisioning.verify.__main__ import main
from provisioning.verify.certificate import parse_trust
from provisioning.verify.wipe_certificate import CertificateReport, judge_certificate, judge_page
from provisioning.verify.wipe_drive import check_drive
from shared.enrolment.chain import Trust
from shared.sanitization.certificate import Approval, Body, Reported, WipeCertificate, sign
from shared.sanitization.judge import judge
from shared.sanitization.judged import Judged, Result, Why
from shared.sanitization.stream import Stream
from shared.sanitization.technique import SanitizationClass
from shared.sanitization.ticket import Override
from shared.signing import Label, SoftwareSigner, detached, sign_statement
from tests.control_plane.sanitize.certified import CertifyingDesk
from tests.control_plane.vault.bench import Bench
from tests.provisioning.verify.evidence import Authority
from tests.shared.sanitization import wipes
from tests.shared.sanitization.test_judge import FAULTS
from tests.shared.sanitization.tickets import BEA, CAI

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "formats" / "wipe-certificate.md"


@dataclass(frozen=True)
class Given:
    """What an outsider is given, and the desk that it came from."""

    desk: CertifyingDesk
    file: bytes
    pdf: bytes
    root: bytes

    @property
    def certificate(self) -> WipeCertificate:
        return WipeCertificate.parse(self.file)

    @property
    def trust(self) -> Trust:
        return parse_trust(self.root, "root")

    def judge(self, data: bytes) -> CertificateReport:
        return judge_certificate(data, self.trust, None)

    def resigned(self, body: Body) -> bytes:
        """Return what a centre that lies would sign."""
        return sign(body, self.desk.bench.keys.signer(store.JOURNAL)).encoded

    def restated(self, **changes: Any) -> bytes:
        body = self.certificate.body
        return self.resigned(dataclasses.replace(body, statement=dataclasses.replace(body.statement, **changes)))


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    desk = CertifyingDesk(Bench(tmp_path_factory.mktemp("centre")))
    released = desk.certified(desk.done(desk.approved()))
    return Given(desk, released.file, released.pdf, desk.bench.ca.pem)


def failed(report: CertificateReport) -> set[str]:
    return {check.name for check in report.checks if check.state.value == "FAILED"}


def write(folder: Path, given: Given) -> None:
    (folder / "wipe.json").write_bytes(given.file)
    (folder / "wipe.pdf").write_bytes(given.pdf)
    (folder / "root.pem").write_bytes(given.root)


def test_an_override_takes_two_people_whatever_the_centre_says(given: Given) -> None:
    allowed = dataclasses.replace(given.certificate.body.statement.ticket, overrides=(Override.INCIDENT_HOLD,))

    def by(**signers: SoftwareSigner) -> set[str]:
        signed = {name: sign_statement(one, Label.WIPE_TICKET, allowed.encode()) for name, one in signers.items()}
        approvals = tuple(Approval(name, one.public, detached(signed[name])) for name, one in signers.items())
        return failed(given.judge(given.restated(ticket=allowed, approvals=approvals)))

    assert "ticket approved" in by(Bea=BEA)
    assert "ticket approved" in by(Bea=BEA, bea=CAI)
    assert "ticket approved" not in by(Bea=BEA, Cai=CAI)


def test_nothing_that_is_verified_reaches_the_terminal_as_a_control(
    given: Given, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, given)
    status = main(["certificate", str(tmp_path / "\x1b[2Kno.json"), "--ca", str(tmp_path / "root.pem")])
    approval = dataclasses.replace(given.certificate.body.statement.approvals[0], name="\x9b1A\x9b2KProven: all of it")
    forged = given.judge(given.restated(approvals=(approval,)))

    assert status == 2
    assert "\x1b" not in capsys.readouterr().err
    assert forged.certificate is None
    assert failed(forged) == {"form of the certificate"}


@pytest.mark.parametrize("name", ["wipe.json", "wipe.pdf"])
def test_a_genuine_certificate_is_proven_with_nothing_but_the_root(
    given: Given, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    write(tmp_path, given)
    status = main(["certificate", str(tmp_path / name), "--ca", str(tmp_path / "root.pem")])
    text = capsys.readouterr().out
    main(["certificate", str(tmp_path / name), "--ca", str(tmp_path / "root.pem"), "--json"])
    said = json.loads(capsys.readouterr().out)

    assert status == 0
    assert "Proven" in text
    assert "approved by known keys" in text.splitlines()[-1], "what was not looked at is said last"
    assert said["ok"] is True
    assert said["statement"]["judged"]["result"] == "cleared-verified"
    assert said["sha256"] in text


def test_keys_of_policy_s_root_tell_who_may_approve(
    given: Given, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, given)
    approval = given.certificate.body.statement.approvals[0]
    public = subprocess.run(
        ["openssl", "pkey", "-pubin", "-inform", "DER"], input=approval.key.spki, capture_output=True, check=True
    ).stdout.decode()
    (tmp_path / "root.json").write_text(json.dumps({"signed": {"keys": {"a": {"keyval": {"public": public}}}}}))
    (tmp_path / "other.json").write_text(json.dumps({"signed": {"keys": {}}}))

    def run(policy_root: str) -> int:
        return main([
            "certificate", str(tmp_path / "wipe.json"), "--ca", str(tmp_path / "root.pem"),
            "--policy-root", str(tmp_path / policy_root),
        ])  # fmt: skip

    assert (run("root.json"), run("other.json")) == (0, 1)
    assert "FAILED" in capsys.readouterr().out


# ---- changed by somebody without a key


def positions(size: int, count: int) -> list[int]:
    drawn = random.Random(4711)
    return sorted({0, size - 1, *(drawn.randrange(size) for _ in range(count))})


def verify_found(given: Given, count: int) -> None:
    for at in positions(len(given.file), count):
        changed = bytearray(given.file)
        changed[at] = ord("1") if changed[at] != ord("1") else ord("2")
        assert not given.judge(bytes(changed)).ok, f"character {at}"


def verify_found_in_pdf(given: Given, count: int) -> None:
    signature = re.search(rb"/Contents\s*<", given.pdf)
    assert signature is not None
    gap = given.pdf.index(b">", signature.end())
    # What begins a signature is covered by none.
    head = range(signature.end(), signature.end() + 120, 3)
    inside = [*head, *(signature.end() + at for at in positions(gap - signature.end(), count))]
    for at in [*positions(len(given.pdf), count), *inside]:
        changed = bytearray(given.pdf)
        changed[at] ^= 1
        assert not judge_page(bytes(changed), given.trust, None).ok, f"byte {at}"


def test_one_changed_character_anywhere_is_found(given: Given) -> None:
    verify_found(given, 60)


def test_one_changed_byte_of_the_pdf_anywhere_is_found(given: Given) -> None:
    verify_found_in_pdf(given, 15)


@pytest.mark.soak
def test_one_changed_character_at_any_of_thousands_of_places_is_found(given: Given) -> None:
    verify_found(given, 5000)
    verify_found_in_pdf(given, 1000)


def test_what_is_added_to_a_signed_pdf_is_found(given: Given) -> None:
    assert "signature of the PDF" in failed(judge_page(given.pdf + b"\n% one more line\n", given.trust, None))


def test_a_certificate_of_another_hospital_is_not_believed(given: Given) -> None:
    stranger = Authority().trust

    report = judge_certificate(given.file, stranger, None)
    page = judge_page(given.pdf, stranger, None)

    assert {"certificate of the centre", "certificate of the host", "record in the log"} <= failed(report)
    assert "certificate of the PDF's signature" in failed(page)


# ---- made up by a centre that has its keys


@pytest.mark.parametrize("fault", FAULTS)
def test_no_centre_can_certify_what_the_evidence_does_not_give(given: Given, fault: str) -> None:
    why, _, case = FAULTS[fault]
    ticket, report = case()
    statement = given.certificate.body.statement
    signed = sign_statement(given.desk.host.signer, Label.WIPE_REPORT, report.encode())
    lie = given.restated(
        ticket=dataclasses.replace(ticket, host_id=statement.ticket.host_id),
        reported=Reported(report, detached(signed)),
    )
    found = given.judge(lie)

    assert "judged anew" in failed(found)
    assert why in judge(ticket, report).why


@pytest.mark.parametrize(
    "stated",
    [
        Judged(Result.PURGED_VERIFIED, SanitizationClass.PURGE, (), (Why.COMMAND_RAN,)),
        Judged(Result.CLEARED_VERIFIED, SanitizationClass.PURGE, (), (Why.ALL_PASSES_WRITTEN,)),
        Judged(Result.DESTROYED, SanitizationClass.DESTROY, (), (Why.PERSON_SAYS_DESTROYED,)),
    ],
)
def test_no_centre_can_state_a_higher_class(given: Given, stated: Judged) -> None:
    assert {"judged anew", "record of the certificate"} <= failed(given.judge(given.restated(judged=stated)))


def test_a_centre_can_neither_make_a_host_s_report_nor_an_approval(given: Given) -> None:
    statement = given.certificate.body.statement
    assert statement.reported is not None
    centre = given.desk.bench.keys.signer(store.JOURNAL)
    forged = detached(sign_statement(centre, Label.WIPE_REPORT, statement.reported.report.encode()))
    of_another_kind = detached(sign_statement(BEA, Label.COMMAND, statement.ticket.encode()))
    approval = dataclasses.replace(statement.approvals[0], signature=of_another_kind)

    report = given.judge(given.restated(reported=Reported(statement.reported.report, forged)))
    approved = given.judge(given.restated(approvals=(approval,)))
    by_nobody = given.judge(given.restated(approvals=()))
    by_herself = given.judge(given.restated(approvals=(dataclasses.replace(statement.approvals[0], name="ada "),)))

    assert "signature of the host" in failed(report)
    assert all("ticket approved" in failed(one) for one in (approved, by_nobody, by_herself))


def test_what_was_restated_later_is_not_what_the_log_names(given: Given) -> None:
    later = given.certificate.body.statement.made + timedelta(days=1)

    assert failed(given.judge(given.restated(made=later))) == {"record of the certificate"}


def test_a_record_that_is_not_in_the_log_is_found(given: Given) -> None:
    body, desk = given.certificate.body, given.desk
    other = desk.done(desk.approved())
    another = WipeCertificate.parse(desk.certified(other).file).body

    swapped = given.judge(given.resigned(dataclasses.replace(body, proof=another.proof)))
    of_another = given.judge(given.resigned(dataclasses.replace(body, record=another.record, proof=another.proof)))

    assert failed(swapped) == {"record in the log"}
    assert failed(of_another) == {"record of the certificate"}


def test_a_certificate_without_the_host_s_own_is_not_judged_by_another_s(given: Given) -> None:
    body = given.certificate.body
    of_centre = body.certificates[1]
    missing = dataclasses.replace(body, certificates=(of_centre,))
    renamed = dataclasses.replace(
        body, certificates=(dataclasses.replace(of_centre, source=body.certificates[0].source), of_centre)
    )

    for one in (missing, renamed):
        assert "certificate of the host" in failed(given.judge(given.resigned(one)))


# ---- with the tools of others


def test_the_commands_of_the_page_verify_every_signature(given: Given, tmp_path: Path) -> None:
    write(tmp_path, given)
    file, root, out = (str(tmp_path / name) for name in ("wipe.json", "root.pem", "out"))
    main(["certificate", file, "--ca", root, "--extract", out])
    commands = re.findall(r"^    (openssl .+)$", PAGE.read_text(), re.MULTILINE)

    assert len(commands) >= 4
    for command in commands:
        done = subprocess.run(shlex.split(command), cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr.decode()}"
    (tmp_path / "out" / "host.signed").write_bytes((tmp_path / "out" / "host.signed").read_bytes() + b" ")
    damaged = next(command for command in commands if "host.signed" in command)
    assert subprocess.run(shlex.split(damaged), cwd=tmp_path, capture_output=True, check=False).returncode != 0


def test_samples_of_the_drive_are_what_the_certificate_says(given: Given, tmp_path: Path) -> None:
    drive, statement = tmp_path / "drive", given.certificate.body.statement
    content = bytearray(wipes.SIZE)
    Stream(wipes.SEED).fill(0, memoryview(content))
    drive.write_bytes(content)
    whole = check_drive(statement, drive, bytes(32))
    drive.write_bytes(bytes(wipes.SIZE))
    zeroed = check_drive(statement, drive, bytes(32))
    drive.write_bytes(content[:-512])
    cut = check_drive(statement, drive, bytes(32))

    assert (whole.holds, zeroed.holds, cut.holds) == (True, False, False)
