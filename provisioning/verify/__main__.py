"""leadglass-verify: check images, sealed objects, the audit log, its archives, hand-overs and wipes; no private key."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from shared.devices.printable import printable

if TYPE_CHECKING:
    from provisioning.verify.sealed_object import DatasetFacts
    from shared.enrolment.chain import Trust

Kinds = argparse._SubParsersAction

OK, FAILED, BAD_INPUT = 0, 1, 2
_READ_BYTES = 1 << 20

_DESCRIPTION = """\
Check Leadglass evidence yourself. Needs no server, no account and no private key: only the files, and the
certificate of the authority that you decided to trust (--ca). Every check is printed as passed, FAILED or
not evaluated; the last line says what was and what was not proven.

exit status: 0 nothing failed, 1 something failed or could not be judged, 2 bad input, or no way to say the result
"""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = command_line().parse_args(argv)
    from shared.errors import Malformed, Unavailable

    try:
        judges = {"object": _object, "audit": _audit, "image": _image, "log": _log}
        judges |= {"hand-over": _hand_over, "certificate": _certificate, "archive": _archive}
        judge = judges[arguments.what]
        ok, shown, conclusion, as_json = judge(arguments)
        if arguments.json:
            print(json.dumps({"v": 1, "ok": ok, **as_json, "conclusion": conclusion}, indent=2), flush=True)
        else:
            print(*(printable(line, len(line)) for line in (*shown, conclusion)), sep="\n", flush=True)
    except (Malformed, Unavailable) as exc:
        return _bad_input(str(exc))
    except OSError as exc:
        return _bad_input(str(exc) if exc.filename is None else f"{exc.filename}: {exc.strerror}")
    return OK if ok else FAILED


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="leadglass-verify", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = "{image,object,audit,log,archive,hand-over,certificate}"
    kinds = parser.add_subparsers(dest="what", required=True, metavar=names)
    for add in (_add_image, _add_object, _add_audit, _add_hand_over, _add_certificate, _add_log, _add_archive):
        add(kinds)
    return parser


def _add_image(kinds: "Kinds[argparse.ArgumentParser]") -> None:
    parser = kinds.add_parser("image", help="check a DICOM file: who captured it, when, and is it unchanged?")
    parser.add_argument("file", type=Path, metavar="FILE", help="the image, as an archive gives it back")
    parser.add_argument(
        "--custody", type=Path, required=True, metavar="FILE", help="what `leadglass-server custody` wrote about it"
    )
    parser.add_argument("--log", type=Path, metavar="EXPORT", help="the whole audit log, to find the capture in it")
    parser.add_argument("--bare", action="store_true", help="FILE is a dataset alone, whatever it begins with")
    _add_authority(parser, required=True)


def _add_object(kinds: "Kinds[argparse.ArgumentParser]") -> None:
    parser = kinds.add_parser("object", help="check a sealed object file, and with --dataset the image beside it")
    parser.add_argument("file", type=Path, metavar="FILE", help="the sealed object file")
    parser.add_argument(
        "--evidence-cert", type=Path, required=True, metavar="PEM", help="certificate of the host that captured it"
    )
    parser.add_argument("--dataset", type=Path, metavar="FILE", help="the image itself: is it what was captured?")
    parser.add_argument("--bare", action="store_true", help="--dataset is a dataset alone, not a DICOM Part 10 file")
    _add_authority(parser, required=False)


def _add_audit(kinds: "Kinds[argparse.ArgumentParser]") -> None:
    parser = kinds.add_parser("audit", help="check an audit export: signatures, chains, gaps")
    parser.add_argument("file", type=Path, metavar="EXPORT", help="the export, as JSON lines")
    _add_authority(parser, required=False)


def _add_log(kinds: "Kinds[argparse.ArgumentParser]") -> None:
    parser = kinds.add_parser("log", help="check the Merkle log: a proof of one record, or all of it")
    parser.add_argument("file", type=Path, metavar="PROOF|DIR", help="what `audit proof` or `audit tiles` wrote")
    parser.add_argument("--record", type=Path, metavar="FILE", help="the record that PROOF is of")
    parser.add_argument(
        "--kept", type=Path, action="append", default=[], metavar="FILE", help="a checkpoint of before; repeatable"
    )
    parser.add_argument("--key", metavar="VKEY", help="the log's key, instead of --ca")
    _add_witnesses(parser)
    _add_authority(parser, required=False)


def _add_archive(kinds: "Kinds[argparse.ArgumentParser]") -> None:
    parser = kinds.add_parser("archive", help="check an incident's records and all that proves them, in one file")
    parser.add_argument("file", type=Path, metavar="FILE", help="what `leadglass-server audit archive` wrote")
    parser.add_argument("--kept", type=Path, metavar="FILE", help="the checkpoint that you kept")
    _add_witnesses(parser)
    _add_authority(parser, required=True)


def _add_hand_over(kinds: "Kinds[argparse.ArgumentParser]") -> None:
    parser = kinds.add_parser("hand-over", help="check the report of a visit: did that host sign it, unchanged?")
    parser.add_argument("file", type=Path, metavar="FILE", help="the signed file, or the PDF that it is attached to")
    parser.add_argument(
        "--root", type=Path, required=True, metavar="PEM", help="certificate of the authority you trust", dest="ca"
    )
    _add_json(parser)


def _add_certificate(kinds: "Kinds[argparse.ArgumentParser]") -> None:
    parser = kinds.add_parser("certificate", help="check the certificate of a wipe: is it true of that drive?")
    parser.add_argument("file", type=Path, metavar="FILE", help="the certificate, or the PDF that it is attached to")
    parser.add_argument(
        "--policy-root", type=Path, metavar="FILE", help="the policy's root, to know the keys of who approved it"
    )
    parser.add_argument("--drive", type=Path, metavar="DEVICE", help="read samples of the drive itself and compare")
    parser.add_argument(
        "--extract", type=Path, metavar="DIR", help="write what was signed, the signatures and the keys, for openssl"
    )
    _add_authority(parser, required=True)


def _add_witnesses(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--witness", action="append", default=[], metavar="VKEY", help="who has to have cosigned it; repeatable"
    )
    parser.add_argument("--at-least", type=int, metavar="K", help="how many of these witnesses [all of them]")


def _add_authority(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--ca", type=Path, required=required, metavar="PEM", help="certificate of the authority you trust"
    )
    _add_json(parser)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def _object(arguments: argparse.Namespace) -> tuple[bool, list[str], str, dict[str, object]]:
    from provisioning.verify import checks
    from provisioning.verify.certificate import parse_certified
    from provisioning.verify.sealed_object import judge_object

    certified = parse_certified(arguments.evidence_cert.read_bytes(), "evidence certificate")
    trust = _trust(arguments.ca) if arguments.ca else None
    dataset = _dataset(arguments.dataset, bare=arguments.bare) if arguments.dataset else None
    with arguments.file.open("rb") as file:
        _require_seekable(file)
        _require_object(file)
        report = judge_object(file, certified, trust, dataset)
    as_json: dict[str, object] = {"checks": [check.json() for check in report.checks]}
    return report.ok, checks.lines(report.checks), report.conclusion, as_json


def _audit(arguments: argparse.Namespace) -> tuple[bool, list[str], str, dict[str, object]]:
    from provisioning.verify import checks
    from provisioning.verify.audit_export import judge_export

    trust = _trust(arguments.ca) if arguments.ca else None
    with arguments.file.open("rb") as file:
        report = judge_export(_lines(file), trust)
    shown = checks.lines(report.checks) + [
        f"{one.state.value:13}  {one.source}  {one.records} records; {one.why}" for one in report.sources
    ]
    as_json: dict[str, object] = {
        "checks": [check.json() for check in report.checks],
        "sources": [one.json() for one in report.sources],
    }
    return report.ok, shown, report.conclusion, as_json


def _log(arguments: argparse.Namespace) -> tuple[bool, list[str], str, dict[str, object]]:
    from provisioning.verify import checks
    from provisioning.verify.log import judge_folder, judge_proof, read_proof
    from provisioning.verify.witnesses import Quorum
    from shared.audit.tlog.keys import NoteKey
    from shared.errors import Malformed

    if (arguments.ca is None) == (arguments.key is None):
        raise Malformed("command", "give --ca, or the log's key by --key")
    trusted = _trust(arguments.ca) if arguments.key is None else NoteKey.parse(arguments.key)
    quorum = Quorum.parse(arguments.witness, arguments.at_least)
    if arguments.file.is_dir():
        report = judge_folder(arguments.file, trusted, [path.read_text() for path in arguments.kept], quorum)
    else:
        record = None if arguments.record is None else arguments.record.read_bytes()
        report = judge_proof(read_proof(arguments.file), record, trusted, quorum)
    as_json: dict[str, object] = {"checks": [check.json() for check in report.checks]}
    return report.ok, checks.lines(report.checks), report.conclusion, as_json


def _archive(arguments: argparse.Namespace) -> tuple[bool, list[str], str, dict[str, object]]:
    from provisioning.verify import checks
    from provisioning.verify.archive import judge_archive
    from provisioning.verify.witnesses import Quorum

    kept = None if arguments.kept is None else arguments.kept.read_text(errors="replace")
    quorum = Quorum.parse(arguments.witness, arguments.at_least)
    with arguments.file.open("rb") as file:
        _require_seekable(file)
        report = judge_archive(file, _trust(arguments.ca), kept, quorum)
    as_json: dict[str, object] = {"checks": [check.json() for check in report.checks]}
    if report.manifest is not None:
        as_json["question"] = report.manifest.question.json()
        as_json["records"] = [one.json() for one in report.manifest.records]
    return report.ok, [*checks.lines(report.checks), *report.lines()], report.conclusion, as_json


def _image(arguments: argparse.Namespace) -> tuple[bool, list[str], str, dict[str, object]]:
    from provisioning.command import verify_centre_is_here

    verify_centre_is_here("checking an image's pixels")
    from control_plane.custody.decoder import Decoder
    from provisioning.verify import checks
    from provisioning.verify.audit_export import judge_export
    from provisioning.verify.image import ImageJudge
    from provisioning.verify.part10 import Split, split
    from shared.custody.statement import MAX_BYTES, CustodyStatement

    trust = _trust(arguments.ca)
    with arguments.custody.open("rb") as file:
        statement = CustodyStatement.parse(file.read(MAX_BYTES + 1))
    log = None
    if arguments.log is not None:
        with arguments.log.open("rb") as file:
            log = judge_export(_lines(file), trust)
    with arguments.file.open("rb") as file:
        _require_seekable(file)
        where = Split(0, None, "a dataset alone") if arguments.bare else split(file)
        report = ImageJudge(Decoder()).judge(file, where, statement, trust, log)
    as_json: dict[str, object] = {
        "checks": [check.json() for check in report.checks],
        "state": report.state.value,
        "captured": report.captured,
    }
    shown = [*checks.lines(report.checks), report.state.value.upper()]
    return report.ok, shown, report.conclusion, as_json


def _hand_over(arguments: argparse.Namespace) -> tuple[bool, list[str], str, dict[str, object]]:
    from control_plane.paper.attachment import MAX_PDF_BYTES, attached_file, is_pdf
    from provisioning.handover.report import ATTACHMENT, SignedHandOver
    from provisioning.verify import checks
    from provisioning.verify.hand_over import judge_hand_over

    trust = _trust(arguments.ca)
    with arguments.file.open("rb") as file:
        data = file.read(MAX_PDF_BYTES + 1)
    report = attached_file(data, ATTACHMENT, "hand-over PDF") if is_pdf(data) else data
    judged = judge_hand_over(SignedHandOver.parse(report), trust)
    as_json: dict[str, object] = dict(judged.json())
    return judged.ok, [*checks.lines(judged.checks), *judged.lines()], judged.conclusion, as_json


def _certificate(arguments: argparse.Namespace) -> tuple[bool, list[str], str, dict[str, object]]:
    from control_plane.paper.attachment import MAX_PDF_BYTES, is_pdf
    from provisioning.verify import checks
    from provisioning.verify.wipe_certificate import judge_certificate, judge_page
    from provisioning.verify.wipe_drive import check_drive
    from provisioning.verify.wipe_extract import extract, keys_of_root
    from shared.sanitization.qr_text import from_text, is_qr_text

    trust = _trust(arguments.ca)
    people = None if arguments.policy_root is None else keys_of_root(arguments.policy_root.read_bytes())
    with arguments.file.open("rb") as file:
        data = file.read(MAX_PDF_BYTES + 1)
    if is_qr_text(data):
        data = from_text(data)
    report = (judge_page if is_pdf(data) else judge_certificate)(data, trust, people)
    if arguments.drive is not None and report.certificate is not None:
        report = report.and_also(check_drive(report.certificate.body.statement, arguments.drive))
    if arguments.extract is not None and report.certificate is not None:
        extract(report.certificate, arguments.extract)
    as_json: dict[str, object] = dict(report.json())
    return report.ok, [*checks.lines(report.checks), *report.lines()], report.conclusion, as_json


def _trust(path: Path) -> "Trust":
    from provisioning.verify.certificate import parse_trust

    return parse_trust(path.read_bytes(), "CA certificate")


def _require_seekable(file: BinaryIO) -> None:
    from shared.errors import Malformed

    if not file.seekable():
        raise Malformed("file", "a pipe can be read only once; give a file")


def _require_object(file: BinaryIO) -> None:
    """A file of another kind is bad input; a sealed object that was damaged is a failed check."""
    from shared.errors import Malformed

    if file.read(6) != b"LGOBJT":
        raise Malformed("sealed object file", "it does not begin with LGOBJT")


def _dataset(path: Path, *, bare: bool) -> "DatasetFacts":
    from hashlib import sha256

    from provisioning.verify.part10 import read_meta
    from provisioning.verify.sealed_object import DatasetFacts

    digest, size = sha256(), 0
    with path.open("rb") as file:
        syntax = None if bare else read_meta(file).transfer_syntax
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
            size += len(piece)
    return DatasetFacts(digest.digest(), size, syntax)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    from provisioning.verify.audit_export import MAX_LINE_BYTES

    while line := file.readline(MAX_LINE_BYTES + 1):
        yield line


def _bad_input(why: str) -> int:
    print(f"leadglass-verify: {printable(why, len(why))}", file=sys.stderr)
    return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
