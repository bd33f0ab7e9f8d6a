"""leadglass-verify log, and the same judged by an implementation that is not ours."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from control_plane.cli.merkle import write_tiles
from control_plane.enrolment import authority
from control_plane.keys import store
from control_plane.settings import Witnessing
from control_plane.tlog.proofs import LogProofs
from control_plane.tlog.reading import LogReading
from control_plane.witnesses.showing import WitnessShowing
from provisioning.verify.__main__ import main
from shared.audit.events import Action, Event, Happening, Outcome
from shared.audit.tlog.checkpoint import claimed_head
from shared.audit.tlog.keys import KeyType, NoteKey, NoteSigner
from shared.audit.tlog.log_key import LogKeyOffer, sign_log_key
from shared.audit.tlog.note import Note, sign_note
from tests.control_plane.vault.bench import Bench
from tests.fakes.centre import Authority

COUNT = 300


@dataclass(frozen=True)
class Files:
    folder: Path
    proof: Path
    record: Path
    ca: Path
    older: Path
    vkey: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A log of 300 entries as files, the proof of one, and a checkpoint of 251 that somebody kept."""
    folder = tmp_path_factory.mktemp("log")
    bench = Bench(folder / "centre")
    host = bench.enrol()
    for _ in range(COUNT - 1):
        host.note()
    bench.journal.record(Happening(Event.SERVER_STARTED, Action.EXECUTE, Outcome.SUCCESS))
    host.deliver(1, 250)
    signer, key = bench.keys.signer(store.JOURNAL), bench.journal.sequencer.key
    certificate = bench.ca.shown(authority.newest_certificate(bench.database, bench.keys.p256(store.JOURNAL))).decode()
    offer = LogKeyOffer(sign_log_key(signer, key), certificate)
    proofs = LogProofs(bench.database, lambda: offer)
    (folder / "older").write_text(proofs.checkpoint())
    host.deliver(251, COUNT - 1)

    class Unrecorded:
        """What is fetched must not change while it is."""

        def record(self, happening: Happening) -> None:
            assert happening.event is Event.AUDIT_READ

    journal = bench.keys.signer(store.JOURNAL).public
    showing = WitnessShowing(bench.database, key, Witnessing(), bench.keys.witness_signer, journal, bench.clock)
    reading = LogReading(bench.database, Unrecorded(), proofs, showing)
    fetch: dict[str, Callable[[], bytes]] = {
        "checkpoint": lambda: reading.checkpoint("ada").encode(),
        "key": lambda: reading.key("ada"),
    }
    assert write_tiles(folder / "all", lambda path: fetch.get(path, lambda: reading.tile("ada", path))()) == COUNT
    found = reading.record("ada", str(host.host_id), 270)
    (folder / "one.tlog-proof").write_text(found.proof)
    (folder / "one.json").write_bytes(found.public)
    (folder / "ca.pem").write_bytes(bench.ca.trust.pem())
    return Files(folder / "all", folder / "one.tlog-proof", folder / "one.json", folder / "ca.pem", folder / "older",
                 key.vkey)  # fmt: skip


@pytest.fixture
def files(made: Files, tmp_path: Path) -> Files:
    copied = shutil.copytree(made.folder.parent, tmp_path / "log", ignore=shutil.ignore_patterns("centre"))
    paths = {name: copied / Path(getattr(made, name)).name for name in ("folder", "proof", "record", "ca", "older")}
    return Files(**paths, vkey=made.vkey)


def verified(files: Files, what: Path, *more: object) -> int:
    return main(["log", str(what), "--ca", str(files.ca), *map(str, more)])


def edited(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"outcome":0', b'"outcome":8', 1))


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)


ATTACKS: dict[str, Callable[[Files], object]] = {
    "an edited entry": lambda files: edited(files.folder / "tile/entries/000"),
    "an edited tile": lambda files: flipped(files.folder / "tile/0/000"),
    "a checkpoint of more": lambda files: (files.folder / "checkpoint").write_text(
        (files.folder / "checkpoint").read_text().replace(f"\n{COUNT}\n", f"\n{COUNT - 1}\n")
    ),
    "an entry that is gone": lambda files: (files.folder / "tile/entries/001.p/44").write_bytes(
        (files.folder / "tile/entries/001.p/44").read_bytes()[:-400]
    ),
}


def test_all_of_a_log_is_proved_from_files_and_the_authority_alone(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verified(files, files.folder, "--kept", files.older) == 0
    said = capsys.readouterr().out
    assert "300 recomputed from their bytes" in said
    assert "passed         kept checkpoint" in said
    assert main(["log", str(files.folder), "--key", files.vkey]) == 0

    files.ca.write_bytes(Authority().pem)
    assert verified(files, files.folder) == 1
    assert main(["log", str(files.folder)]) == 2


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_log_that_was_changed_is_not(files: Files, attack: str) -> None:
    ATTACKS[attack](files)

    assert verified(files, files.folder) == 1


def test_a_log_that_was_cut_off_is_found_by_a_checkpoint_that_was_kept(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    later = files.folder / "checkpoint"
    (files.folder.parent / "later").write_bytes(later.read_bytes())
    shutil.copy(files.older, later)
    cut = files.folder / "tile" / "0"
    (cut / "000.p").mkdir()
    (cut / "000.p" / "251").write_bytes((cut / "000").read_bytes()[: 251 * 32])
    bundle, at = (files.folder / "tile/entries/000").read_bytes(), 0
    for _ in range(251):
        at += 2 + int.from_bytes(bundle[at : at + 2])
    (files.folder / "tile/entries/000.p").mkdir()
    (files.folder / "tile/entries/000.p/251").write_bytes(bundle[:at])

    assert verified(files, files.folder) == 0
    assert verified(files, files.folder, "--kept", files.folder.parent / "later") == 1
    assert "cut off" in capsys.readouterr().out


def test_a_proof_is_of_its_record_and_of_no_other(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert verified(files, files.proof, "--record", files.record) == 0
    assert verified(files, files.proof) == 1
    assert "not evaluated" in capsys.readouterr().out
    edited(files.record)
    assert verified(files, files.proof, "--record", files.record) == 1
    files.proof.write_text("nothing")
    assert verified(files, files.proof, "--record", files.record) == 2


# ---- who cosigned


WITNESSES = [
    NoteSigner(
        f"example.com/w{number}", Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)), KeyType.COSIGNATURE
    )
    for number in (1, 2, 3)
]
VKEYS = [witness.public.vkey for witness in WITNESSES]


def cosigned(files: Files, *by: NoteSigner, flip: bool = False) -> Path:
    """Have witnesses cosign the checkpoint of 251 entries; with `flip`, the last one signs something else."""
    note = Note.parse(files.older.read_text())
    lines = [sign_note(note.text, one, seconds=1_790_000_000).signatures[0] for one in by]
    if flip:
        lines[-1] = replace(lines[-1], signature=lines[-1].signature[:-1] + bytes([lines[-1].signature[-1] ^ 1]))
    file = files.folder.parent / "cosigned"
    file.write_text(replace(note, signatures=(*note.signatures, *lines)).encode())
    return file


def asked(*vkeys: str, at_least: int | None = None) -> list[object]:
    options = [option for vkey in vkeys for option in ("--witness", vkey)]
    return [*options, *(() if at_least is None else ("--at-least", at_least))]


def test_as_many_witnesses_as_asked_for_have_to_have_cosigned_what_the_log_goes_on_from(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = cosigned(files, *WITNESSES[:2])

    assert verified(files, files.folder, "--kept", kept, *asked(*VKEYS, at_least=2)) == 0
    said = capsys.readouterr().out
    assert "2 of 3 cosigned 251 entries, asked for 2: example.com/w1 at 2026-09-" in said
    assert verified(files, files.folder, "--kept", kept, *asked(*VKEYS)) == 1
    assert verified(files, files.folder, "--kept", kept, *asked(*VKEYS[:2])) == 0
    assert verified(files, files.folder, *asked(*VKEYS, at_least=1)) == 1  # nobody cosigned the newest
    assert verified(files, files.folder, "--kept", cosigned(files), *asked(*VKEYS, at_least=1)) == 1


def test_a_forged_cosignature_is_no_witness_and_one_key_is_one_witness(files: Files) -> None:
    forged = cosigned(files, *WITNESSES[:2], flip=True)
    assert verified(files, files.folder, "--kept", forged, *asked(*VKEYS, at_least=1)) == 1
    alias = NoteKey("example.com/other", KeyType.COSIGNATURE, WITNESSES[0].public.public).vkey
    for wrong in (asked(VKEYS[0], alias), asked(files.vkey), asked(*VKEYS, at_least=4), asked(at_least=1)):
        assert verified(files, files.folder, *wrong) == 2


def test_two_views_that_were_both_cosigned_are_found(files: Files) -> None:
    """A log that its witnesses vouch for is not the one that they vouched for before: `--kept` says so, not they."""
    kept = cosigned(files, *WITNESSES)
    note = Note.parse(kept.read_text())
    head = replace(claimed_head(kept.read_text()), root=bytes(32))
    kept.write_text(replace(note, text=head.text()).encode())

    assert verified(files, files.folder, "--kept", kept, *asked(*VKEYS)) == 1


# ---- by others


def judged_by_others(foreign: Path, files: Files, *what: Path) -> bool:
    command = [str(foreign), files.vkey, *map(str, what)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 0


def test_an_implementation_that_is_not_ours_comes_to_the_same(foreign: Path, files: Files) -> None:
    assert judged_by_others(foreign, files, files.folder, files.older)
    assert judged_by_others(foreign, files, files.proof, files.record)

    edited(files.record)
    assert not judged_by_others(foreign, files, files.proof, files.record)


@pytest.mark.parametrize("attack", ["an edited entry", "an edited tile", "a checkpoint of more"])
def test_an_implementation_that_is_not_ours_finds_what_was_changed(foreign: Path, files: Files, attack: str) -> None:
    ATTACKS[attack](files)

    assert not judged_by_others(foreign, files, files.folder)


def test_an_implementation_that_is_not_ours_finds_the_same_witnesses(foreign: Path, files: Files) -> None:
    def judged(file: Path, vkeys: list[str]) -> bool:
        command = [str(foreign), files.vkey, str(file), "witnesses", *vkeys]
        return subprocess.run(command, capture_output=True, timeout=180, check=False).returncode == 0

    assert judged(cosigned(files, *WITNESSES[:2]), VKEYS[:2])
    assert not judged(cosigned(files, *WITNESSES[:2]), VKEYS)
    assert not judged(cosigned(files, *WITNESSES[:2], flip=True), VKEYS[:2])
