"""leadglass-verify archive: an incident as one file, judged offline, and what was done to it found."""

import io
import json
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from control_plane.audit_log.archiving import Archiving
from control_plane.enrolment import authority
from control_plane.keys import store
from control_plane.tlog.proofs import LogProofs
from control_plane.witnesses.showing import NothingCosigned
from provisioning.verify.__main__ import main
from provisioning.verify.archive import judge_archive
from provisioning.verify.certificate import parse_trust
from provisioning.verify.witnesses import Quorum, judge_quorum
from shared.audit.archive.container import ArchiveWriter, ContainerAltered, read_members
from shared.audit.archive.manifest import Manifest
from shared.audit.events import Event
from shared.audit.question import Question
from shared.audit.tlog.checkpoint import TreeHead
from shared.audit.tlog.keys import KeyType, NoteSigner
from shared.audit.tlog.log_key import LogKeyOffer, sign_log_key
from shared.audit.tlog.note import Note, sign_note
from shared.errors import Malformed
from tests.control_plane.vault.bench import ENTRY, Bench
from tests.fakes.centre import Authority

PERSON = "A. Admin"
WITNESSES = [
    NoteSigner(f"example.com/w{one}", Ed25519PrivateKey.from_private_bytes(bytes([one] * 32)), KeyType.COSIGNATURE)
    for one in (1, 2)
]
WITNESS, OTHER = (
    NoteSigner(name, Ed25519PrivateKey.generate(), KeyType.COSIGNATURE) for name in ("example.com/w1", "example.com/w2")
)


@dataclass(frozen=True)
class Made:
    archive: bytes
    opened: bytes
    ca: Path
    kept: Path
    vkey: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """What a patient's image went through, as an archive with what is sealed and one with what is not, opened."""
    folder = tmp_path_factory.mktemp("archive")
    bench = Bench(folder / "centre")
    host = bench.enrol()
    images = [host.seal(bytes([number])) for number in range(3)]
    for image in images:
        host.captured(image)
    host.note(Event.AGENT_STOPPED)
    host.deliver(1, 2)
    archiving, proofs = made_by(bench)
    (folder / "kept").write_text(cosigned(proofs.checkpoint()))
    host.deliver(3, 4)
    for image in images:
        bench.receive(image)
    bench.read(images[0])
    sealed = b"".join(archiving.make(PERSON, Question(patient=ENTRY.patient_id), kept=(folder / "kept").read_text()))
    noted = Note.parse(proofs.checkpoint())
    lines = (sign_note(noted.text, one, seconds=1_790_000_000).signatures[0] for one in WITNESSES)
    archiving, _ = made_by(bench, replace(noted, signatures=(*noted.signatures, *lines)).encode())
    opened = b"".join(archiving.make(PERSON, Question(person=PERSON), opened=True))
    (folder / "ca.pem").write_bytes(bench.ca.trust.pem())
    return Made(sealed, opened, folder / "ca.pem", folder / "kept", bench.journal.sequencer.key.vkey)


def cosigned(checkpoint: str) -> str:
    note = Note.parse(checkpoint)
    return replace(note, signatures=(*note.signatures, *sign_note(note.text, WITNESS, seconds=1).signatures)).encode()


def made_by(bench: Bench, cosigned: str = "") -> tuple[Archiving, LogProofs]:
    """`cosigned` is the checkpoint that witnesses cosigned, where any did."""
    signer, key = bench.keys.signer(store.JOURNAL), bench.journal.sequencer.key
    certificate = bench.ca.shown(authority.newest_certificate(bench.database, bench.keys.p256(store.JOURNAL))).decode()
    proofs = LogProofs(bench.database, lambda: LogKeyOffer(sign_log_key(signer, key), certificate))

    def newest() -> str:
        if not cosigned:
            raise NothingCosigned
        return cosigned

    made = Archiving(bench.database, bench.asking, bench.private, signer, key, proofs.offer, newest, bench.clock)
    return made, proofs


def files_of(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    writer = ArchiveWriter(out)
    for name, data in files.items():
        writer.add(name, data)
    writer.end()
    return out.getvalue()


def verdict(made: Made, archive: bytes, kept: str | None = None) -> dict[str, str]:
    report = judge_archive(io.BytesIO(archive), parse_trust(made.ca.read_bytes(), "ca"), kept)
    return {check.name: check.state.value for check in report.checks} | {"ok": str(report.ok)}


def test_an_archive_is_proved_from_itself_and_the_authority_alone(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "incident.zip"
    archive.write_bytes(made.archive)

    assert main(["archive", str(archive), "--ca", str(made.ca), "--kept", str(made.kept)]) == 0
    said = capsys.readouterr().out
    for check in ("inclusion", "kept checkpoint", "private parts", "signed by their sources", "question", "manifest"):
        assert f"passed         {check}" in said
    assert "patient 4711; found 9" in said
    manifest = Manifest.parse(files_of(made.archive)["manifest.json"])
    assert len(manifest.records) == 9
    assert "private" not in " ".join(files_of(made.archive))

    made_elsewhere = tmp_path / "other.pem"
    made_elsewhere.write_bytes(Authority().pem)
    assert main(["archive", str(archive), "--ca", str(made_elsewhere)]) == 1
    archive.write_bytes(b"nothing")
    assert main(["archive", str(archive), "--ca", str(made.ca)]) == 2


def test_an_archive_says_who_witnessed_the_log_that_it_is_of(made: Made, tmp_path: Path) -> None:
    archive = tmp_path / "incident.zip"
    archive.write_bytes(made.archive)
    asked = ["archive", str(archive), "--ca", str(made.ca), "--witness", WITNESS.public.vkey]

    assert main(asked) == 0
    assert main([*asked, "--witness", OTHER.public.vkey]) == 1
    assert main([*asked, "--witness", OTHER.public.vkey, "--at-least", "1"]) == 0


def test_of_checkpoints_that_as_many_cosigned_the_one_of_the_most_entries_is_told() -> None:
    heads = [TreeHead("example.com/log", size, bytes(32)) for size in (100, 10)]
    notes = [(sign_note(head.text(), WITNESS, seconds=1).encode(), head) for head in heads]

    assert "1 of 1 cosigned 100 entries" in judge_quorum(Quorum((WITNESS.public,), 1), notes).detail


def test_what_was_opened_is_what_its_record_committed_to(made: Made) -> None:
    files = files_of(made.opened)
    private = {name: json.loads(data) for name, data in files.items() if name.startswith("private/")}
    assert [*private.values()] == [
        {"form": "dataset", "reason": "second opinion"},
        {"patient": ENTRY.patient_id},
    ]
    assert verdict(made, made.opened)["ok"] == "True"

    files[next(iter(private))] = b'{"reason":"curiosity"}'
    assert verdict(made, packed(files))["files"] == "FAILED"


def test_what_witnesses_cosigned_is_in_it_and_counts_by_their_own_keys(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, vkeys = tmp_path / "incident.zip", [one.public.vkey for one in WITNESSES]
    archive.write_bytes(made.opened)
    by = ["archive", str(archive), "--ca", str(made.ca), *(f"--witness={vkey}" for vkey in vkeys)]

    assert main(by) == 0
    said = capsys.readouterr().out
    assert "passed         cosigned checkpoint" in said
    assert "2 of 2 cosigned" in said
    archive.write_bytes(made.archive)
    assert main(by) == 1
    assert verdict(made, made.archive)["cosigned checkpoint"] == "not evaluated"


@pytest.mark.parametrize("what", ["records/", "proofs/", "signed/", "checkpoint", "kept/consistency", "manifest.json",
                                  "manifest.signed", "log-key.json", "certificates/", "README.md"])  # fmt: skip
def test_whatever_is_edited_in_it_is_found(made: Made, what: str) -> None:
    files = files_of(made.archive)
    name = next(name for name in files if name.startswith(what))
    data = bytearray(files[name])
    data[len(data) // 2] ^= 1
    files[name] = bytes(data)

    assert verdict(made, packed(files))["ok"] == "False"


def test_a_record_that_was_taken_out_or_put_in_is_found(made: Made) -> None:
    files = files_of(made.archive)
    gone = {name: data for name, data in files.items() if not name.startswith("records/000000000000")}
    assert verdict(made, packed(gone))["files"] == "FAILED"
    assert verdict(made, packed({**files, "records/000000000999.json": b"{}"}))["files"] == "FAILED"


def test_a_centre_that_leaves_out_what_would_convict_it_proves_nothing(made: Made, tmp_path: Path) -> None:
    """It can write a host's record itself where it need not show what that host signed, or the checkpoint kept."""
    archive, kept = tmp_path / "incident.zip", ("--kept", str(made.kept))
    archive.write_bytes(made.opened)
    assert main(["archive", str(archive), "--ca", str(made.ca)]) == 0
    assert main(["archive", str(archive), "--ca", str(made.ca), *kept]) == 1

    bench = Bench(tmp_path / "centre")
    host = bench.enrol()
    host.note(Event.AGENT_STOPPED)
    host.deliver(1, 1)
    archiving, _ = made_by(bench)
    question = Question(host=str(host.host_id), event="agent.stopped")
    for sql, said in (("SELECT 1", ("passed", True)), ("DELETE FROM audit_statements", ("not evaluated", False))):
        bench.sql(sql)
        packed_up = b"".join(archiving.make(PERSON, question))
        report = judge_archive(io.BytesIO(packed_up), bench.ca.trust)
        (found,) = (check.state.value for check in report.checks if check.name == "signed by their sources")
        assert (found, report.ok, report.conclusion.startswith("Proven")) == (*said, said[1])


def test_one_changed_byte_anywhere_is_found(made: Made) -> None:
    """Every byte of headers and directory, and every 97th of the rest."""
    content = {
        at for one in read_members(io.BytesIO(made.archive)) for at in range(one.start, one.start + one.size_bytes)
    }
    places = [at for at in range(len(made.archive)) if at not in content or at % 97 == 0]
    for at in places[:: max(1, len(places) // 600)]:
        data = bytearray(made.archive)
        data[at] ^= 0x20
        try:
            read_members(io.BytesIO(bytes(data)))
        except (ContainerAltered, Malformed):
            continue
        raise AssertionError(f"byte {at} says nothing")


def twice(out: zipfile.ZipFile) -> None:
    for text in (b"a", b"b"):
        out.writestr(stored("checkpoint"), text)


def commented(out: zipfile.ZipFile) -> None:
    out.writestr(stored("checkpoint"), b"a")
    out.comment = b"read me"


HOSTILE: dict[str, Callable[[zipfile.ZipFile], None]] = {
    "a path that leads out": lambda out: out.writestr(stored("../../etc/passwd"), b""),
    "an absolute path": lambda out: out.writestr(stored("/etc/passwd"), b""),
    "something to inflate": lambda out: out.writestr("checkpoint", bytes(10 << 20), zipfile.ZIP_DEFLATED),
    "a name that stands twice": twice,
    "a comment": commented,
    "a folder": lambda out: out.writestr(stored("records/"), b""),
}


def stored(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))


@pytest.mark.parametrize("trick", HOSTILE)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_tricks_of_zip_files_are_refused(trick: str) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        HOSTILE[trick](archive)

    with pytest.raises((ContainerAltered, Malformed)):
        read_members(out)


@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda tail: b"PK\x03\x04" + tail))
def test_bytes_of_anybody_are_refused_and_nothing_else_happens(data: bytes) -> None:
    with pytest.raises((ContainerAltered, Malformed)):
        read_members(io.BytesIO(data))


@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9.]{1,8})?", fullmatch=True).filter(lambda name: "/." not in name),
        st.binary(max_size=100),
        min_size=1,
        max_size=6,
    )
)
def test_what_is_written_is_read_and_by_others_too(files: dict[str, bytes]) -> None:
    archive = packed(files)

    assert [one.name for one in read_members(io.BytesIO(archive))] == list(files)
    assert files_of(archive) == files


@given(st.binary(max_size=400))
def test_no_manifest_but_one_is_read(data: bytes) -> None:
    with pytest.raises(Malformed):
        Manifest.parse(data)


# ---- by others


def test_an_implementation_that_is_not_ours_proves_every_record_and_the_kept_checkpoint(
    made: Made, foreign: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "incident.zip"
    archive.write_bytes(made.archive)
    assert judged_by_others(foreign, made.vkey, archive) == "9 records verified, and the log goes on from 2\n"

    files = files_of(made.archive)
    name = next(name for name in files if name.startswith("records/"))
    files[name] = files[name].replace(b'"outcome":0', b'"outcome":8')
    archive.write_bytes(packed(files))
    assert judged_by_others(foreign, made.vkey, archive) is None


def judged_by_others(foreign: Path, vkey: str, archive: Path) -> str | None:
    done = subprocess.run([foreign, vkey, archive], capture_output=True, text=True, timeout=180, check=False)
    return done.stdout if done.returncode == 0 else None
