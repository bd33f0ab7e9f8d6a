"""How what one source sent at once is cut into pieces, whatever times it says."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from control_plane.audit_log.pieces import EVENT, LONGEST_US, OUTCOME, WIDEST, cut, found_by
from shared.audit.events import Action, Event, Outcome, Participant
from shared.audit.record import GENESIS, AuditRecord

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
RECORD = AuditRecord(
    "host-" + "0" * 32, 1, GENESIS, NOW, Event.IMAGE_CAPTURED, Action.CREATE, Outcome.SUCCESS,
    (Participant("person", "ada", True),), (), "", None,
)  # fmt: skip
MINUTES = st.lists(st.integers(-90, 90), max_size=40) | st.lists(st.just(0), min_size=250, max_size=600)


@given(MINUTES, st.integers(0, 10_000))
def test_pieces_hold_each_record_once_and_say_when_it_was(minutes: list[int], entry: int) -> None:
    records = [replace(RECORD, time=NOW + timedelta(minutes=one)) for one in minutes]
    pieces = list(cut(records, [one.happened for one in records], entry))

    assert [at for piece in pieces for at in range(piece.first, piece.last + 1)] == [
        entry + at for at in range(len(records))
    ]
    for piece in pieces:
        happened = [one.happened for one in records[piece.first - entry : piece.last - entry + 1]]
        assert len(happened) <= WIDEST
        assert piece.since == min(happened)
        assert max(happened) - piece.since <= LONGEST_US
    # As few as that allows, where records come in the order of time.
    if minutes == sorted(minutes) and minutes and minutes[-1] - minutes[0] <= 60:
        assert len(pieces) == -(-len(minutes) // WIDEST)


def test_a_piece_is_found_by_whatever_any_of_its_records_says() -> None:
    failed = replace(RECORD, event=Event.IMAGE_REFUSED, outcome=Outcome.MINOR_FAILURE, who=())

    assert found_by([RECORD, failed]) == {
        ("person", "ada"),
        ("host", RECORD.source),
        (EVENT, "capture.image-captured"),
        (EVENT, "capture.image-refused"),
        (OUTCOME, "4"),
    }
