"""The background digester: off the acknowledging path, one outcome an image, nothing lost and nothing released."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from threading import Event as Flag

import pytest

from control_plane.custody.decoder import DecoderStopped, NotDecoded, Why
from control_plane.custody.frames import DIGESTED, NOT_ASKED, REFUSED, FrameWorker
from control_plane.db.transactions import DatabaseUnavailable
from control_plane.vault.object_store import Body, BodyUnreadable, StoreUnavailable
from shared.audit.events import Event, EventName
from shared.custody.frames import Pixels, verify_frames
from shared.errors import Unavailable
from shared.identity import ObjectId
from shared.sealing.record import record_digest
from tests.edge_agent.capture.images import load
from tests.provisioning.verify.custody_bench import Custody

PIXELS = Pixels(1, 1, 1, 8, 8, False, "MONOCHROME2", False, "a decoder of tests", (bytes(32),))


class OnePixel:
    """Takes every image for one pixel."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def decode(self, pieces: Iterable[bytes], transfer_syntax: str) -> Pixels:
        self.taken.append(b"".join(pieces))
        return PIXELS

    def stop(self) -> None:
        pass


class Refusing(OnePixel):
    def __init__(self, exc: Exception) -> None:
        super().__init__()
        self._exc = exc

    def decode(self, pieces: Iterable[bytes], transfer_syntax: str) -> Pixels:
        raise self._exc


@pytest.fixture
def custody(tmp_path: Path) -> Custody:
    return Custody(tmp_path)


def rows(custody: Custody) -> list[tuple[str, bytes | None, str]]:
    return [tuple(row) for row in custody.bench.rows("SELECT state, statement, why FROM frame_digests")]


def frame_events(custody: Custody) -> list[EventName]:
    return [event for event in custody.bench.events() if event.value.startswith("custody.")]


def test_an_image_is_digested_signed_and_logged(custody: Custody) -> None:
    image = load("MR_small.dcm")
    sealed = custody.capture(image)

    assert custody.digester().run_once() == 1

    ((state, signed, why),) = rows(custody)
    assert (state, why) == (DIGESTED, "")
    assert signed is not None
    statement = verify_frames(signed, custody.bench.receipts.public)
    assert statement.object_id == sealed.object_id
    assert statement.record_sha256 == record_digest(sealed.record)
    assert statement.dataset_sha256 == sha256(image.dataset).digest()
    assert statement.transfer_syntax == image.transfer_syntax
    assert frame_events(custody) == [Event.FRAMES_DIGESTED]
    named = {(subject.kind, subject.name) for subject in custody.bench.last_record().what}
    assert named == {("object", str(sealed.object_id)), ("frames", sha256(signed).hexdigest())}


def test_an_image_is_digested_once(custody: Custody) -> None:
    custody.capture(load("MR_small.dcm"))
    custody.digester().run_once()

    assert custody.digester().run_once() == 0
    assert frame_events(custody) == [Event.FRAMES_DIGESTED]


def test_the_decoder_gets_the_dataset_that_was_captured(custody: Custody) -> None:
    image, decoder = load("MR_small_RLE.dcm"), OnePixel()
    custody.capture(image)

    custody.digester(decoder).run_once()

    assert decoder.taken == [image.dataset]


def test_where_policy_does_not_ask_nothing_is_opened(custody: Custody) -> None:
    decoder = OnePixel()
    custody.capture(load("MR_small.dcm"))

    custody.digester(decoder, asked=False).run_once()

    assert decoder.taken == []
    assert [state for state, _, _ in rows(custody)] == [NOT_ASKED]
    assert frame_events(custody) == []


@pytest.mark.parametrize(
    "exc",
    [NotDecoded(Why.CRASHED), NotDecoded(Why.NO_PIXELS), BodyUnreadable("EIO"), ZeroDivisionError("Muster^Erika")],
)
def test_what_cannot_be_digested_is_said_aloud_and_not_tried_for_ever(custody: Custody, exc: Exception) -> None:
    custody.capture(load("MR_small.dcm"))

    assert custody.digester(Refusing(exc)).run_once() == 1
    assert custody.digester(Refusing(exc)).run_once() == 0
    ((state, signed, why),) = rows(custody)
    assert (state, signed) == (REFUSED, None)
    assert type(exc).__name__ in why
    assert "Erika" not in why
    assert frame_events(custody) == [Event.FRAMES_REFUSED]
    assert custody.bench.last_record().reason == why


def test_one_bad_image_does_not_keep_the_next_one_waiting(custody: Custody) -> None:
    custody.capture(load("rtplan.dcm"))
    custody.capture(load("MR_small.dcm"))

    custody.digester().run_once()

    assert sorted(state for state, _, _ in rows(custody)) == [DIGESTED, REFUSED]


def test_an_altered_image_has_no_digests(custody: Custody) -> None:
    sealed = custody.capture(load("MR_small.dcm"))
    body = custody.bench.body(sealed.object_id)
    body.chmod(0o600)
    body.write_bytes(body.read_bytes()[:-1] + b"\x00")

    custody.digester().run_once()

    ((state, signed, _),) = rows(custody)
    assert (state, signed) == (REFUSED, None)


@pytest.mark.parametrize("exc", [DatabaseUnavailable(), StoreUnavailable("no disk"), DecoderStopped()])
def test_what_is_only_away_is_waited_for(custody: Custody, exc: Unavailable) -> None:
    custody.capture(load("MR_small.dcm"))

    with pytest.raises(Unavailable):
        custody.digester(Refusing(exc)).run_once()

    assert rows(custody) == []
    assert custody.digester().run_once() == 1
    assert [state for state, _, _ in rows(custody)] == [DIGESTED]


def test_an_image_is_acknowledged_while_frames_are_digested(custody: Custody) -> None:
    image = load("MR_small.dcm")
    receipts = []

    class Receiving(OnePixel):
        def decode(self, pieces: Iterable[bytes], transfer_syntax: str) -> Pixels:
            other = custody.host.seal(image.dataset)
            receipts.append(custody.bench.receive(other))
            return super().decode(pieces, transfer_syntax)

    custody.capture(image)
    custody.digester(Receiving()).run_once()

    assert len(receipts) == 1


def test_the_worker_digests_what_waits_and_stops(custody: Custody) -> None:
    done = Flag()

    class Telling(OnePixel):
        def decode(self, pieces: Iterable[bytes], transfer_syntax: str) -> Pixels:
            done.set()
            return super().decode(pieces, transfer_syntax)

    custody.capture(load("MR_small.dcm"))
    worker = FrameWorker(custody.digester(Telling()))

    worker.start()
    assert done.wait(60)
    worker.stop()

    assert [state for state, _, _ in rows(custody)] == [DIGESTED]


def test_a_second_pass_that_differs_gives_no_digests(custody: Custody) -> None:
    """The body is swapped between the two passes: what was decoded is then not what was proved."""
    custody.capture(load("MR_small.dcm"))
    real = custody.bench.objects

    class Swapping:
        opened = 0

        def put(self, object_id: ObjectId, body: object) -> None:
            raise AssertionError("nothing is written")

        def open(self, object_id: ObjectId) -> Body:
            self.opened += 1
            if self.opened == 2:
                path = custody.bench.body(object_id)
                path.chmod(0o600)
                path.write_bytes(path.read_bytes()[:-1] + b"\x00")
            return real.open(object_id)

    custody.bench.opener = custody.bench.opener_with(store=Swapping())
    custody.digester().run_once()

    assert [state for state, _, _ in rows(custody)] == [REFUSED]
