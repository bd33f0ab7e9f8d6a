"""`spool verify`: what is whole is called so and nothing else is, beside an agent that goes on working."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.capture.registrar import GroupRegistrar
from edge_agent.spool.catalogue import CatalogueReader, Row, Spooled, State
from edge_agent.spool.entry import BLOCK_BYTES, Note
from edge_agent.spool.reader import SpoolReader
from edge_agent.spool.verifier import BAD, Finding, Result, SpoolVerifier
from edge_agent.spool.whole import own_key, verify_whole
from shared.identity import ObjectId
from shared.sealing import object_file
from shared.sealing.object_file import ObjectParts, SeekableSource
from shared.sealing.record import CaptureRecord, verify_record
from shared.signing import EvidencePublicKey
from tests.fakes.host import Host

SMALL, LARGE = bytes(range(256)) * 200, bytes(range(256)) * 8192
both = pytest.mark.parametrize("dataset", [SMALL, LARGE], ids=["in a segment", "a file of its own"])


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path / "host")
    host.put_in_force()
    return host


def verifier(host: Host, **parts: object) -> SpoolVerifier:
    given: dict[str, object] = {"pause": lambda: None, **parts}
    keys = own_key(host.host_id, host.signer.public)
    return SpoolVerifier(host.spool.catalogue, SpoolReader(host.spool.folder), keys, **given)  # type: ignore[arg-type]


def found(host: Host, **parts: object) -> dict[ObjectId | None, Finding]:
    return {result.object_id: result.judged.finding for result in verifier(host, **parts).everything()}


def the_only(host: Host) -> Spooled:
    (spooled,) = host.spool.everything()
    return spooled


def change(host: Host, spooled: Spooled, how: Callable[[bytearray], None]) -> None:
    """Change the bytes of an object where they lie on the disk."""
    path = SpoolReader(host.spool.folder).path(spooled)
    offset = spooled.place.offset if spooled.place else 0
    with path.open("r+b") as file:
        file.seek(offset)
        data = bytearray(file.read(spooled.object_bytes))
        how(data)
        file.seek(offset)
        file.write(data)


def flipped(at: int) -> Callable[[bytearray], None]:
    def flip(data: bytearray) -> None:
        data[at] ^= 0x10

    return flip


def leave(host: Host, spooled: Spooled) -> None:
    """Have the agent let go of a delivered object, and write over where it lay."""
    path = SpoolReader(host.spool.folder).path(spooled)
    with host.database.transaction() as connection:
        host.spool.forget(connection, spooled)
    host.spool.let_go(spooled)
    if path.exists():
        overwrite(path)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))


@both
def test_what_this_host_signed_and_the_disk_gives_unchanged_is_whole(host: Host, dataset: bytes) -> None:
    waiting, aside, owed = (host.capture(dataset, uid=f"1.2.{number}") for number in range(3))
    rows = list(host.spool.everything())
    host.spool.put_aside(rows[1], "the vault refused it")
    with host.database.transaction() as connection:
        host.spool.keep_owed(connection, rows[2])

    assert found(host) == dict.fromkeys((waiting, aside, owed), Finding.WHOLE)


def test_an_image_of_many_pieces_is_read_to_its_end(host: Host) -> None:
    object_id = host.capture(bytes(20 << 20))

    assert found(host) == {object_id: Finding.WHOLE}
    change(host, the_only(host), flipped(20 << 20))
    assert found(host) == {object_id: Finding.DAMAGED}


# Behind the body lie a wrap of 1,200 bytes, the index, a record of 650 and a footer of 28.
ROT: dict[str, Callable[[bytearray], None]] = {
    "the head": flipped(0),
    "the binding": flipped(40),
    "the body's first chunk": flipped(300),
    "the body's middle": lambda data: flipped(len(data) // 2)(data),
    "the record": flipped(-300),
    "the signature": flipped(-40),
    "the footer": flipped(-10),
    "zeros at its end": lambda data: data.__setitem__(slice(-500, None), bytes(500)),
    "zeros in its body": lambda data: data.__setitem__(slice(20_000, 24_096), bytes(4096)),
    "nothing left": lambda data: data.__setitem__(slice(None), bytes(len(data))),
}


@both
@pytest.mark.parametrize("how", ROT)
def test_rot_in_any_signed_part_is_damage_and_the_others_are_whole(host: Host, dataset: bytes, how: str) -> None:
    before, rotten, after = (host.capture(dataset, uid=f"1.2.{number}") for number in range(3))
    change(host, host.spool.everything()[1], ROT[how])

    assert found(host) == {before: Finding.WHOLE, rotten: Finding.DAMAGED, after: Finding.WHOLE}


@pytest.mark.parametrize("from_the_end", [28 + 660 + 300, 28 + 660 + 1200], ids=["index", "wrap"])
def test_of_the_parts_that_nobody_signed_a_segment_notices_rot_and_a_file_does_not(
    host: Host, from_the_end: int
) -> None:
    small, large = host.capture(SMALL, uid="1.2.1"), host.capture(LARGE, uid="1.2.2")
    for spooled in host.spool.everything():
        change(host, spooled, flipped(-from_the_end))

    assert found(host) == {small: Finding.DAMAGED, large: Finding.WHOLE}


@both
def test_control_a_verification_that_does_not_read_the_body_calls_a_rotten_object_whole(
    host: Host, dataset: bytes
) -> None:
    def credulous(_source: SeekableSource, parts: ObjectParts, key: EvidencePublicKey) -> CaptureRecord:
        return verify_record(parts.record, key)

    rotten = host.capture(dataset)
    change(host, the_only(host), flipped(20_000))

    assert found(host, verify=credulous) == {rotten: Finding.WHOLE}
    assert found(host) == {rotten: Finding.DAMAGED}


def test_an_object_in_the_place_of_another_is_damage(host: Host) -> None:
    swapped, other = host.capture(SMALL, uid="1.2.1"), host.capture(SMALL, uid="1.2.2")
    first, second = host.spool.everything()
    with host.spool.open(second) as file:
        whole = file.read()
    change(host, first, lambda data: data.__setitem__(slice(None), whole))

    (result, _) = verifier(host).everything()
    assert (result.object_id, result.judged.finding) == (swapped, Finding.DAMAGED)
    large, _ = host.capture(LARGE, uid="1.2.3"), host.capture(LARGE, uid="1.2.4")
    files = sorted(host.files())
    files[0].write_bytes(files[1].read_bytes())
    (why,) = [result.judged.why for result in verifier(host).everything() if result.object_id == large]
    assert why.startswith("it is object ")
    assert found(host)[other] is Finding.WHOLE


def test_what_is_signed_with_another_key_is_damage_and_what_another_host_captured_is_not_judged(host: Host) -> None:
    ours = host.capture(LARGE)
    forged, theirs = (Host(host.folder.parent / name) for name in ("forger", "other"))
    forged.host_id = host.host_id
    forged.restart()
    for other in (forged, theirs):
        other.put_in_force()
    made = {other.capture(LARGE): other.files()[0].read_bytes() for other in (forged, theirs)}
    for number, (object_id, content) in enumerate(made.items(), 10):
        spooled = Spooled(number, object_id, len(content))
        (host.spool.files / spooled.name).write_bytes(content)
        with host.database.transaction() as connection:
            host.spool.catalogue.add(connection, spooled)

    assert list(found(host).values()) == [Finding.WHOLE, Finding.DAMAGED, Finding.NOT_JUDGED]
    assert found(host)[ours] is Finding.WHOLE
    assert Finding.NOT_JUDGED in BAD


@both
def test_what_is_not_there_is_missing_and_what_the_disk_does_not_give_unreadable(host: Host, dataset: bytes) -> None:
    lost = host.capture(dataset)
    path = SpoolReader(host.spool.folder).path(the_only(host))
    path.unlink()

    assert found(host) == {lost: Finding.MISSING}
    if dataset is LARGE:
        # Address zero of any process is not mapped: open succeeds and read says EIO.
        path.symlink_to("/proc/self/mem")
        (result,) = verifier(host).everything()
        assert result.judged.finding is Finding.UNREADABLE
        assert result.judged.why == "Input/output error"


@both
@pytest.mark.parametrize("change_bytes", [-1, -20_000, 1], ids=["a byte less", "cut off", "a byte more"])
def test_an_object_of_another_size_is_damage(host: Host, dataset: bytes, change_bytes: int) -> None:
    cut = host.capture(dataset)
    spooled = the_only(host)
    path = SpoolReader(host.spool.folder).path(spooled)
    end = (spooled.place.offset if spooled.place else 0) + spooled.object_bytes
    content = path.read_bytes()[: end + change_bytes] if change_bytes < 0 else path.read_bytes() + b"x"
    path.write_bytes(content)

    is_whole = change_bytes > 0 and spooled.place is not None  # then it is the segment that is longer
    assert found(host) == {cut: Finding.WHOLE if is_whole else Finding.DAMAGED}


@both
def test_what_is_delivered_while_it_is_read_is_gone_meanwhile_and_no_damage(host: Host, dataset: bytes) -> None:
    gone = host.capture(dataset)
    spooled = the_only(host)

    def after_it_left(source: SeekableSource, parts: ObjectParts, key: EvidencePublicKey) -> CaptureRecord:
        leave(host, spooled)
        return verify_whole(source, parts, key)

    outcome = found(host, verify=after_it_left)[gone]
    assert outcome is (Finding.GONE if dataset is SMALL else Finding.WHOLE)
    assert found(host) == {}


def test_control_who_does_not_ask_again_calls_what_was_delivered_damaged(host: Host) -> None:
    class Stale(CatalogueReader):
        def find(self, object_id: ObjectId) -> Row | None:
            return row

    host.capture(SMALL)
    (row,) = host.spool.rows(State.WAITING)
    leave(host, row.spooled)
    keys = own_key(host.host_id, host.signer.public)
    stale = SpoolVerifier(Stale(host.database), SpoolReader(host.spool.folder), keys, lambda: None)

    assert stale.result(row).judged.finding is Finding.DAMAGED
    assert verifier(host).result(row).judged.finding is Finding.GONE


def test_what_left_between_the_question_and_the_look_is_gone_meanwhile(host: Host) -> None:
    gone = host.capture(LARGE)
    (row,) = host.spool.rows(State.WAITING)
    leave(host, row.spooled)

    assert verifier(host).result(row).judged.finding is Finding.GONE
    assert gone == row.spooled.object_id


def test_what_is_put_aside_while_it_is_read_is_looked_for_where_it_lies_now(host: Host) -> None:
    moved = host.capture(SMALL)
    spooled = the_only(host)
    segment = SpoolReader(host.spool.folder).path(spooled)
    looks = list[str]()

    def after_it_moved(source: SeekableSource, parts: ObjectParts, key: EvidencePublicKey) -> CaptureRecord:
        looks.append("look")
        if len(looks) == 1:
            host.spool.put_aside(spooled, "the vault refused it")
            overwrite(segment)
            raise OSError
        return verify_whole(source, parts, key)

    (result,) = verifier(host, verify=after_it_moved).everything()
    assert (result.object_id, result.judged.finding, len(looks)) == (moved, Finding.WHOLE, 2)
    assert result.place.startswith("files/")


# ---- what is not in the catalogue


def strangers(host: Host, **parts: object) -> list[Result]:
    return [result for result in verifier(host, **parts).everything() if not result.in_catalogue]


def unregistered(host: Host, dataset: bytes = SMALL, uid: str = "1.2.9") -> ObjectId:
    """Capture an image up to the moment before it is registered."""
    host.pipeline.registrar = GroupRegistrar(host.captures.entries, host.log)
    return host.capture(dataset, uid=uid)


@both
def test_what_no_catalogue_names_is_named_and_what_becomes_of_it(host: Host, dataset: bytes) -> None:
    known, lost = host.capture(dataset, uid="1.2.1"), host.capture(dataset, uid="1.2.2")
    with host.database.transaction() as connection:
        connection.execute("DELETE FROM spooled WHERE object = ?", (str(lost),))

    (stranger,) = strangers(host)
    assert (stranger.object_id, stranger.judged.finding) == (lost, Finding.WHOLE)
    assert stranger.judged.why == "the next start registers it"
    assert found(host) == dict.fromkeys((known, lost), Finding.WHOLE)
    host.restart()
    host.recover()
    assert strangers(host) == []


@pytest.mark.parametrize("leaves", [False, True])
def test_what_is_left_in_a_segment_of_an_object_that_was_put_aside_is_no_stranger(host: Host, leaves: bool) -> None:
    host.capture(SMALL)
    host.spool.put_aside(the_only(host), "the vault refused it")
    (row,) = host.spool.rows(State.PUT_ASIDE)
    if leaves:
        leave(host, row.spooled)

    assert strangers(host) == []


def test_what_was_torn_before_it_was_registered_is_damage(host: Host) -> None:
    torn = unregistered(host)
    (segment,) = (host.spool.folder / "segments").iterdir()
    with segment.open("r+b") as file:
        file.seek(4 * BLOCK_BYTES)
        file.write(bytes(BLOCK_BYTES))

    (stranger,) = strangers(host)
    assert (stranger.object_id, stranger.judged.finding) == (torn, Finding.DAMAGED)


def test_what_was_being_written_when_it_was_first_seen_is_no_damage(host: Host) -> None:
    coming = unregistered(host)
    (segment,) = (host.spool.folder / "segments").iterdir()
    whole = segment.read_bytes()
    segment.write_bytes(whole[: 3 * BLOCK_BYTES] + bytes(len(whole) - 3 * BLOCK_BYTES))

    (stranger,) = strangers(host, pause=lambda: segment.write_bytes(whole))
    assert (stranger.object_id, stranger.judged.finding) == (coming, Finding.WHOLE)


def test_what_is_registered_meanwhile_is_not_named(host: Host) -> None:
    unregistered(host)
    registrar = host.pipeline.registrar
    assert isinstance(registrar, GroupRegistrar)

    assert strangers(host, pause=registrar._enter_some) == []


def test_what_was_owed_and_not_registered_is_not_promised_to_anybody(host: Host) -> None:
    incoming = host.spool.begin(ObjectId.new())
    with host.spool.open(_captured(host)) as file:
        content = file.read()
    incoming.room(len(content))[: len(content)] = content
    incoming.took(len(content))
    parts = object_file.parse(SpoolReader(host.spool.folder).peek(host.spool.everything()[0]))
    behind_the_body = len(content) - parts.body_offset - parts.body_bytes
    incoming.commit(Note("CT1", "1.2", owed=True).encode(), behind_the_body)

    (stranger,) = strangers(host)
    assert stranger.judged.finding is Finding.WHOLE
    assert stranger.judged.why == "nobody was told that it is safe, and no start registers it"


def _captured(host: Host) -> Spooled:
    host.capture(SMALL)
    return host.spool.everything()[0]


def test_what_lay_in_a_segment_that_is_given_back_meanwhile_is_not_named(host: Host) -> None:
    unregistered(host)
    (segment,) = (host.spool.folder / "segments").iterdir()

    assert strangers(host, pause=lambda: segment.rename(segment.with_name("spare-00000000.seg"))) == []


def test_a_name_that_the_agent_never_gives_is_mentioned_and_is_no_damage(host: Host) -> None:
    (host.spool.files / "README").write_text("hello")
    (host.spool.folder / "segments" / "copy of 1.seg").write_text("hello")

    found = {stranger.place: stranger.judged.finding for stranger in strangers(host)}
    assert found == dict.fromkeys(("files/README", "segments/copy of 1.seg"), Finding.FOREIGN)
    assert Finding.FOREIGN not in BAD


def test_a_segment_that_cannot_be_looked_through_is_said_to_be_one(host: Host) -> None:
    host.capture(SMALL)
    (segment,) = (host.spool.folder / "segments").iterdir()
    segment.unlink()
    segment.symlink_to(segment.name)

    (stranger,) = strangers(host)
    assert (stranger.place, stranger.judged.finding) == (f"segments/{segment.name}", Finding.UNREADABLE)


def test_notes_and_spares_are_no_strangers(host: Host) -> None:
    host.capture(LARGE)
    host.spool.segments.spares = 1
    host.spool.segments.prepare()

    assert strangers(host) == []
