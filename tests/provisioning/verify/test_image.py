"""`leadglass-verify image`: what an archive may do to an image, what nobody may, and what forged evidence proves."""

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.custody.decoder import COMMAND, Decoder, NotDecoded, Why
from provisioning.verify.__main__ import BAD_INPUT, FAILED, OK, main
from provisioning.verify.checks import State
from provisioning.verify.image import DATASET, PIXELS, SYNTAX, ImageJudge, ImageReport, ImageState
from provisioning.verify.part10 import split
from shared.audit.record import AuditRecord
from shared.canonical import parse as parse_canonical
from shared.custody.frames import FrameStatement, Pixels, sign_frames, verify_frames
from shared.custody.statement import CustodyStatement, EvidenceCertificate
from shared.fleet.receipt import Receipt, sign_receipt
from shared.sealing.record import record_digest, sign_record, verify_record
from tests.control_plane.vault.bench import SealedImage, new_signer
from tests.edge_agent.capture.images import Image, load
from tests.fakes.orthanc import orthanc
from tests.provisioning.verify.custody_bench import Custody, dcmtk
from tests.provisioning.verify.evidence import Authority, part10, pem
from tests.shared.sealing.test_memory import peak

ROOT = Path(__file__).resolve().parents[3]
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


@pytest.fixture
def custody(tmp_path: Path) -> Custody:
    return Custody(tmp_path)


@pytest.fixture
def image() -> Image:
    return load("MR_small.dcm")


@pytest.fixture
def sealed(custody: Custody, image: Image) -> SealedImage:
    return custody.capture(image, frames=True)


@pytest.fixture
def statement(custody: Custody, sealed: SealedImage) -> CustodyStatement:
    return custody.statement(sealed)


def state_of(report: ImageReport, name: str) -> State:
    return next(check.state for check in report.checks if check.name == name)


def failed(report: ImageReport) -> set[str]:
    return {check.name for check in report.checks if check.state is State.FAILED}


# ---- unchanged, whatever became of group 0002


def test_the_captured_file_is_proved_with_who_when_and_what(
    custody: Custody, image: Image, sealed: SealedImage, statement: CustodyStatement
) -> None:
    report = custody.judge(image.path.read_bytes(), statement, log=custody.export())

    assert report.ok
    assert report.state is ImageState.UNCHANGED
    assert not failed(report)
    assert report.captured["host"] == str(custody.host.host_id)
    assert report.captured["asset"] == "CT 2, room 1.14"
    assert report.captured["ae_title"] == "CT1"
    assert report.captured["time"] == "2026-03-01T08:00:00.000000Z"
    assert report.captured["policy_version"] == 1
    assert report.captured["object"] == str(sealed.object_id)
    assert report.conclusion.startswith("Proven: the data set of this file is, bit for bit, the one that was captured")
    assert "from CT1" in report.conclusion
    assert "not in the whole log" not in report.conclusion


def rewritten(dataset: bytes, syntax: str) -> Iterator[tuple[str, bytes]]:
    uid = syntax.encode() + b"\x00" * (len(syntax) % 2)
    named = bytes.fromhex("02001000") + b"UI" + struct.pack("<H", len(uid)) + uid
    other = bytes.fromhex("02001200") + b"UI" + struct.pack("<H", 8) + b"1.2.3.44"
    length = bytes.fromhex("02000000") + b"UL\x04\x00"
    yield "another implementation", part10(dataset, syntax=syntax, junk=other)
    yield "no group length", bytes(128) + b"DICM" + named + other + dataset
    yield "a wrong group length", bytes(128) + b"DICM" + length + struct.pack("<I", 7) + named + dataset
    yield "a preamble of TIFF", b"II*\x00" + b"\xaa" * 124 + b"DICM" + named + dataset
    yield "no preamble", named + other + dataset
    yield "no group 0002", dataset


@pytest.mark.parametrize(
    "name", ["MR_small.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "JPEG2000.dcm", "rtplan.dcm"]
)
def test_every_way_to_write_group_0002_leaves_the_dataset_proved(custody: Custody, name: str) -> None:
    image = load(name)
    statement = custody.statement(custody.capture(image))

    for how, file in rewritten(image.dataset, image.transfer_syntax):
        report = custody.judge(file, statement)
        assert (how, report.state, report.ok) == (how, ImageState.UNCHANGED, True)


def test_an_image_that_orthanc_stored_and_gave_back_is_proved(custody: Custody, tmp_path: Path) -> None:
    # In DCMTK's own encoding, so that its sender passes the data set on as it is.
    image = dcmtk("dcmconv", load("MR_small.dcm").path, tmp_path / "sent.dcm", "--group-length-remove", "--padding-off")
    statement = custody.statement(custody.capture(image))

    with orthanc(tmp_path / "orthanc") as archive:
        dcmtk_send(image.path, archive.dicom_port)
        (instance,) = archive.get("/instances")
        file = archive.get(f"/instances/{instance}/file")

    assert file[:1000] != image.path.read_bytes()[:1000]
    assert custody.judge(file, statement).ok


def dcmtk_send(path: Path, port: int) -> None:
    if shutil.which("storescu") is None:
        pytest.skip("storescu is not installed (Debian package dcmtk)")
    subprocess.run(["storescu", "-aec", "ORTHANC", "127.0.0.1", str(port), str(path)], check=True, capture_output=True)


# ---- encoded anew: the frames decide, and never make it verified


@pytest.mark.parametrize(
    "program, options",
    [("dcmcrle", ()), ("dcmcjpls", ()), ("dcmcjpeg", ()), ("dcmconv", ("+ti",)), ("dcmconv", ("+tb",))],
)
def test_lossless_recompression_is_told_from_a_change(
    custody: Custody, image: Image, statement: CustodyStatement, tmp_path: Path, program: str, options: tuple[str, ...]
) -> None:
    dcmtk(program, image.path, tmp_path / "again.dcm", *options)

    report = custody.judge((tmp_path / "again.dcm").read_bytes(), statement)

    assert report.state is ImageState.PIXELS_UNCHANGED
    assert state_of(report, PIXELS) is State.PASSED
    assert state_of(report, DATASET) is State.FAILED
    assert not report.ok
    assert "other attributes were not evaluated" in report.conclusion


@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm"])
def test_recompression_by_programs_of_others_is_recognised(
    custody: Custody, statement: CustodyStatement, name: str
) -> None:
    assert custody.judge(load(name).path.read_bytes(), statement).state is ImageState.PIXELS_UNCHANGED


def test_without_frame_digests_recompression_proves_nothing(custody: Custody, image: Image) -> None:
    statement = custody.statement(custody.capture(image))

    report = custody.judge(load("MR_small_RLE.dcm").path.read_bytes(), statement)

    assert report.state is ImageState.ALTERED
    assert state_of(report, PIXELS) is State.NOT_EVALUATED


def test_a_lossy_change_is_named_as_one(custody: Custody, tmp_path: Path) -> None:
    image = load("examples_rgb_color.dcm")
    statement = custody.statement(custody.capture(image, frames=True))
    dcmtk("dcmcjpeg", image.path, tmp_path / "lossy.dcm", "+eb")

    report = custody.judge((tmp_path / "lossy.dcm").read_bytes(), statement)

    assert report.state is ImageState.LOSSY_CHANGE
    assert not report.ok
    assert "a lossy change" in report.conclusion


def test_a_lossy_change_is_still_one_after_it_was_decompressed(custody: Custody, tmp_path: Path) -> None:
    image = load("examples_rgb_color.dcm")
    statement = custody.statement(custody.capture(image, frames=True))
    dcmtk("dcmcjpeg", image.path, tmp_path / "lossy.dcm", "+eb")
    dcmtk("dcmdjpeg", tmp_path / "lossy.dcm", tmp_path / "plain.dcm")

    assert custody.judge((tmp_path / "plain.dcm").read_bytes(), statement).state is ImageState.LOSSY_CHANGE


def test_a_lossy_transfer_syntax_is_named_where_nothing_could_be_decoded(
    custody: Custody, statement: CustodyStatement
) -> None:
    class Undecoding:
        def decode(self, pieces: Iterator[bytes], transfer_syntax: str) -> Pixels:
            raise NotDecoded(Why.UNSUPPORTED)

    report = custody.judge(load("JPGExtended.dcm").path.read_bytes(), statement, judge=ImageJudge(Undecoding()))

    assert report.state is ImageState.LOSSY_CHANGE


# ---- changed


def test_one_altered_pixel_is_named_with_its_frame(custody: Custody, tmp_path: Path) -> None:
    image = load("rtdose.dcm")
    statement = custody.statement(custody.capture(image, frames=True))
    dataset = bytearray(image.dataset)
    dataset[-1 - 400] ^= 1  # in the last frame but one of fifteen

    report = custody.judge(part10(bytes(dataset), syntax=image.transfer_syntax), statement)

    assert report.state is ImageState.PIXELS_ALTERED
    assert "1 of 15 frames differ: 14" in report.conclusion


def test_a_pixel_altered_before_recompression_is_found(
    custody: Custody, image: Image, statement: CustodyStatement, tmp_path: Path
) -> None:
    dataset = bytearray(image.dataset)
    dataset[-5000] ^= 1
    (tmp_path / "altered.dcm").write_bytes(part10(bytes(dataset), syntax=image.transfer_syntax))
    dcmtk("dcmcrle", tmp_path / "altered.dcm", tmp_path / "again.dcm")

    assert custody.judge((tmp_path / "again.dcm").read_bytes(), statement).state is ImageState.PIXELS_ALTERED


def test_another_patient_s_name_is_an_altered_dataset(
    custody: Custody, image: Image, statement: CustodyStatement
) -> None:
    file = image.path.read_bytes().replace(b"CompressedSamples^MR1", b"CompressedSamples^MR2")
    assert file != image.path.read_bytes()

    report = custody.judge(file, statement)

    assert report.state is ImageState.ALTERED
    assert not report.ok
    assert state_of(report, PIXELS) is State.PASSED  # said, and no excuse


@pytest.mark.parametrize("change", [lambda data: data[:-2], lambda data: data + b"\x01", lambda data: b""])
def test_a_dataset_that_was_cut_or_grew_is_altered(
    custody: Custody, image: Image, statement: CustodyStatement, change: Callable[[bytes], bytes]
) -> None:
    report = custody.judge(part10(change(image.dataset)), statement)

    assert not report.ok
    assert report.state in (ImageState.ALTERED, ImageState.PIXELS_ALTERED)


def test_a_zero_byte_at_the_end_is_told_from_a_change_and_not_passed(
    custody: Custody, image: Image, statement: CustodyStatement
) -> None:
    report = custody.judge(part10(image.dataset + b"\x00"), statement)

    assert report.state is ImageState.PADDED
    assert not report.ok


def test_the_right_bytes_under_a_wrong_name_are_not_passed(
    custody: Custody, image: Image, statement: CustodyStatement
) -> None:
    report = custody.judge(part10(image.dataset, syntax=IMPLICIT), statement)

    assert report.state is ImageState.MISLABELLED
    assert failed(report) == {SYNTAX}
    assert not report.ok


def test_an_image_captured_with_loss_and_decoded_by_others_is_not_judged(custody: Custody, tmp_path: Path) -> None:
    image = load("SC_rgb_jpeg_dcmtk.dcm")
    statement = custody.statement(custody.capture(image, frames=True))
    dcmtk("dcmdjpeg", image.path, tmp_path / "plain.dcm")

    report = custody.judge((tmp_path / "plain.dcm").read_bytes(), statement)

    assert report.state is ImageState.ALTERED
    assert state_of(report, PIXELS) is State.NOT_EVALUATED


# ---- forged evidence


def forged(
    statement: CustodyStatement, custody: Custody, sealed: SealedImage
) -> Iterator[tuple[str, CustodyStatement]]:
    """Yield what somebody without the host's and the centre's keys can make of a statement."""
    stranger, host_key = new_signer(), custody.host.signer.public
    record = verify_record(statement.record, host_key)
    other = custody.host.seal(b"another image")
    custody.bench.receive(other)
    another = custody.statement(other)
    later = replace(record, policy_version=99)
    frames = verify_frames(statement.frames or b"", custody.bench.receipts.public)
    yield "record of another image", replace(statement, record=another.record)
    yield "record signed by a stranger", replace(statement, record=sign_record(later, stranger))
    yield "record signed by the centre", replace(statement, record=sign_record(later, custody.bench.receipts))
    yield "a bit of the record", replace(statement, record=flipped(statement.record))
    yield "receipt of another image", replace(statement, receipt=another.receipt)
    receipt = Receipt(record.object_id, record_digest(statement.record), record.captured)
    yield "receipt signed by a stranger", replace(statement, receipt=sign_receipt(receipt, stranger))
    yield "receipt signed by the host", replace(statement, receipt=sign_receipt(receipt, custody.host.signer))
    yield "binding of another image", replace(statement, binding=another.binding)
    yield "no log", replace(statement, log=())
    yield "log of another image", replace(statement, log=another.log)
    yield "frames signed by the host", replace(statement, frames=sign_frames(frames, custody.host.signer))
    yield (
        "frames of another image",
        replace(statement, frames=sign_frames(replace(frames, dataset_sha256=bytes(32)), custody.bench.receipts)),
    )
    yield (
        "frames that are not logged",
        replace(
            statement,
            frames=sign_frames(replace(frames, made=record.captured.replace(year=2027)), custody.bench.receipts),
        ),
    )
    yield "no certificates", replace(statement, certificates=())
    certificate = pem(Authority().certify(str(custody.host.host_id), "evidence", custody_key())).decode()
    yield (
        "a certificate of another authority",
        replace(
            statement,
            certificates=(*statement.certificates, EvidenceCertificate(str(custody.host.host_id), certificate)),
        ),
    )
    swapped = tuple(
        replace(one, source="control-plane" if one.source != "control-plane" else str(custody.host.host_id))
        for one in statement.certificates
    )
    yield "certificates under other names", replace(statement, certificates=swapped)


def custody_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def test_no_forged_statement_proves_the_true_image(
    custody: Custody, image: Image, sealed: SealedImage, statement: CustodyStatement
) -> None:
    file = image.path.read_bytes()
    for how, forgery in forged(statement, custody, sealed):
        report = custody.judge(file, forgery)
        assert not report.ok, how
        assert report.state is ImageState.NOT_PROVEN, how
        assert failed(report), how


def test_a_tampered_log_record_proves_nothing(custody: Custody, image: Image, statement: CustodyStatement) -> None:
    for number, proof in enumerate(statement.log):
        for place, public in enumerate(proof.records):
            edited = public.replace(b'"outcome":0', b'"outcome":8')
            records = (*proof.records[:place], edited, *proof.records[place + 1 :])
            log = (*statement.log[:number], replace(proof, records=records), *statement.log[number + 1 :])

            report = custody.judge(image.path.read_bytes(), replace(statement, log=log))

            assert report.state is ImageState.NOT_PROVEN


def test_a_log_record_cut_short_of_its_signature_proves_nothing(
    custody: Custody, image: Image, statement: CustodyStatement
) -> None:
    log = tuple(replace(proof, records=proof.records[:1]) for proof in statement.log)
    assert log != statement.log

    assert custody.judge(image.path.read_bytes(), replace(statement, log=log)).state is ImageState.NOT_PROVEN


def test_another_host_s_key_does_not_sign_for_this_one(custody: Custody, image: Image, sealed: SealedImage) -> None:
    other = custody.bench.enrol()
    statement = custody.statement(sealed)
    stolen = custody.statement(custody.capture(image, host=other))
    record = verify_record(statement.record, custody.host.signer.public)
    forgery = replace(
        statement,
        record=sign_record(record, other.signer),
        certificates=(*statement.certificates, *stolen.certificates),
    )

    assert custody.judge(image.path.read_bytes(), forgery).state is ImageState.NOT_PROVEN


def test_a_capture_that_the_log_tells_otherwise_is_not_proved(custody: Custody, image: Image) -> None:
    true, other = custody.host.seal(image.dataset), custody.host.seal(b"another")
    lying = replace(true, record=other.record)
    custody.bench.receive(true)
    custody.host.captured(lying)
    custody.host.deliver(1, 1)

    report = custody.judge(image.path.read_bytes(), custody.statement(true))

    assert report.state is ImageState.NOT_PROVEN


def test_an_image_that_another_was_captured_for_too_says_which(
    custody: Custody, image: Image, sealed: SealedImage
) -> None:
    other = custody.capture(load("CT_small.dcm"))  # the bench gives every image one SOP Instance UID

    report = custody.judge(image.path.read_bytes(), custody.statement(sealed))

    assert report.ok
    assert report.captured["conflicts_with"] == [str(other.object_id)]
    assert f"that it is the true one: other data sets were captured under its SOP Instance UID ({other.object_id})" in (
        report.conclusion
    )


def test_a_host_s_log_that_is_late_leaves_the_sender_open(custody: Custody, image: Image) -> None:
    sealed = custody.host.seal(image.dataset)
    custody.bench.receive(sealed)

    report = custody.judge(image.path.read_bytes(), custody.statement(sealed))

    assert report.ok
    assert report.captured["ae_title"] is None
    assert "which device sent it" in report.conclusion


def test_a_record_that_the_whole_log_does_not_have_is_seen(
    custody: Custody, image: Image, statement: CustodyStatement
) -> None:
    export = custody.export()
    without = [line for line in export if str(custody.host.host_id).encode() not in line or b'"batch"' not in line]

    report = custody.judge(image.path.read_bytes(), statement, log=without)

    assert failed(report) == {"these records in the whole log"}
    assert report.state is ImageState.NOT_PROVEN


# ---- negative controls


def test_a_digest_comparison_that_always_agrees_would_pass_an_altered_image(
    custody: Custody, image: Image, statement: CustodyStatement
) -> None:
    """The comparison of digests is what finds the change: without it, nothing does."""
    altered = part10(image.dataset[:-1] + b"\xff")

    assert not custody.judge(altered, statement).ok
    assert custody.judge(altered, statement, judge=ImageJudge(Decoder(), same=lambda _, __: True)).ok


def test_a_decoder_that_repeats_the_digests_would_pass_altered_pixels(
    custody: Custody, image: Image, statement: CustodyStatement
) -> None:
    captured = verify_frames(statement.frames or b"", custody.bench.receipts.public)

    class Parrot:
        def decode(self, pieces: Iterator[bytes], transfer_syntax: str) -> Pixels:
            return captured.pixels

    altered = part10(image.dataset[:-5000] + b"\xff" + image.dataset[-4999:])

    assert custody.judge(altered, statement).state is ImageState.PIXELS_ALTERED
    assert custody.judge(altered, statement, judge=ImageJudge(Parrot())).state is ImageState.ALTERED


# ---- the command


@pytest.fixture
def files(custody: Custody, image: Image, sealed: SealedImage, tmp_path: Path) -> dict[str, Path]:
    made = {name: tmp_path / name for name in ("image.dcm", "custody.json", "ca.pem", "log.jsonl")}
    made["image.dcm"].write_bytes(image.path.read_bytes())
    made["custody.json"].write_bytes(custody.written(sealed))
    made["ca.pem"].write_bytes(custody.ca_pem)
    made["log.jsonl"].write_bytes(b"".join(custody.export()))
    return made


def run(files: dict[str, Path], *more: str) -> int:
    custody, ca = str(files["custody.json"]), str(files["ca.pem"])
    return main(["image", str(files["image.dcm"]), "--custody", custody, "--ca", ca, *more])


def test_the_command_proves_an_image(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, "--log", str(files["log.jsonl"])) == OK
    assert "DATA SET UNCHANGED\nProven: " in capsys.readouterr().out


def test_the_command_answers_a_script(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    run(files, "--json")

    said = json.loads(capsys.readouterr().out)
    assert (said["ok"], said["state"], said["captured"]["ae_title"]) == (True, "data set unchanged", "CT1")


def test_a_bare_dataset_is_taken(files: dict[str, Path], image: Image) -> None:
    files["image.dcm"].write_bytes(image.dataset)

    assert run(files, "--bare") == OK
    assert run(files) == OK


def test_an_altered_image_has_the_exit_code_of_failure(files: dict[str, Path], image: Image) -> None:
    files["image.dcm"].write_bytes(image.path.read_bytes()[:-2])

    assert run(files) == FAILED


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("custody.json", b"{}", "custody statement field 'v' is malformed: missing"),
        ("custody.json", b"\xff", "custody statement is malformed: not JSON"),
        ("custody.json", b"", "custody statement is malformed: not JSON"),
        ("ca.pem", b"x", "CA certificate is malformed: not a certificate in PEM"),
        ("log.jsonl", b"x", "audit export line 1 is malformed"),
        ("image.dcm", bytes(128) + b"DICM\x02\x00", "Part 10 file is malformed"),
    ],
)
def test_an_input_that_is_none_is_named(
    files: dict[str, Path], name: str, content: bytes, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files[name].write_bytes(content)

    assert run(files, "--log", str(files["log.jsonl"])) == BAD_INPUT
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"leadglass-verify: {says}")


@pytest.mark.parametrize("name", ["image.dcm", "custody.json", "ca.pem", "log.jsonl"])
def test_a_file_that_is_not_there_is_named(
    files: dict[str, Path], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files[name].unlink()

    assert run(files, "--log", str(files["log.jsonl"])) == BAD_INPUT
    assert f"{files[name]}: No such file" in capsys.readouterr().err


def test_a_pipe_is_refused_because_it_can_be_read_only_once(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    os.write(writing, files["image.dcm"].read_bytes())
    os.close(writing)
    try:
        assert run({**files, "image.dcm": Path(f"/dev/fd/{reading}")}) == BAD_INPUT
    finally:
        os.close(reading)
    assert "give a file" in capsys.readouterr().err


def test_a_result_that_cannot_be_told_is_no_success(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        assert run(files) == BAD_INPUT
        monkeypatch.undo()
        with suppress(OSError):
            full.close()


def test_the_statement_of_another_image_is_not_called_an_alteration_only(
    custody: Custody, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    other = custody.capture(load("CT_small.dcm"), frames=True)
    files["custody.json"].write_bytes(custody.written(other))

    assert run(files) == FAILED
    assert "or it is another image than the one that this statement is about" in capsys.readouterr().out


def test_a_gigabyte_is_judged_in_constant_memory(custody: Custody, image: Image, tmp_path: Path) -> None:
    statement, most = custody.statement(custody.capture(image)), 8 << 20
    large = tmp_path / "large.dcm"
    with large.open("wb") as file:
        file.write(image.path.read_bytes())
        file.truncate(1 << 30)

    with large.open("rb") as file, peak() as held:
        report = ImageJudge(Decoder()).judge(file, split(file), statement, custody.bench.ca.trust, None)

    assert report.state is ImageState.ALTERED
    assert held() < most


# What an auditor has not installed.
SERVER_ONLY = (
    "alembic", "apiflask", "apscheduler", "cheroot", "flask", "gdcm", "paho", "pydantic", "pydicom", "pynetdicom",
    "securesystemslib", "shamir_mnemonic", "sqlalchemy", "tuf", "yaml",
)  # fmt: skip


def test_nothing_of_the_control_plane_s_packages_is_needed(files: dict[str, Path]) -> None:
    arguments = ["image", *map(str, (files["image.dcm"], "--custody", files["custody.json"], "--ca", files["ca.pem"]))]
    program = f"""
import sys
sys.modules.update(dict.fromkeys({SERVER_ONLY!r}))  # an import of these fails
from provisioning.verify.__main__ import main
sys.exit(main({arguments!r}))
"""
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)

    assert ran.returncode == OK, ran.stderr
    assert "DATA SET UNCHANGED" in ran.stdout


def test_without_a_decoder_frames_are_not_evaluated_and_it_says_what_to_install(
    custody: Custody, statement: CustodyStatement
) -> None:
    bare = Decoder((sys.executable, "-I", "-S", "-B", COMMAND[-1]))

    report = custody.judge(load("MR_small_RLE.dcm").path.read_bytes(), statement, judge=ImageJudge(bare))

    (check,) = [check for check in report.checks if check.name == PIXELS]
    assert (report.state, check.state) == (ImageState.ALTERED, State.NOT_EVALUATED)
    assert "not installed here (extra: verify)" in check.detail


# ---- what leaves the centre


def test_a_statement_reveals_no_patient_and_is_on_record(custody: Custody, sealed: SealedImage) -> None:
    written = custody.written(sealed)

    assert parse_canonical(written, "statement")
    for secret in (b"sop_instance", b"CompressedSamples", sealed.dataset[:64], b"LGSBOX"):
        assert secret not in written
    record: AuditRecord = custody.bench.last_record()
    assert record.event.value == "audit.read"
    assert str(sealed.object_id) in {subject.name for subject in record.what}


def test_frame_statements_are_about_one_object(custody: Custody, statement: CustodyStatement) -> None:
    frames: FrameStatement = verify_frames(statement.frames or b"", custody.bench.receipts.public)

    assert frames.object_id == statement.object_id
