"""What has to hold after every fault. A check raises AssertionError, so that a broken agent can be shown to fail it."""

from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from provisioning.demo.disk import search_files
from provisioning.demo.needles import Needle
from shared.audit.events import Event, Outcome
from shared.audit.record import AuditRecord
from tests.fakes.centre import Centre
from tests.faults.modality import Image, Modality, betrayals


def delivered(centre: Centre) -> "Counter[bytes]":
    """Open every delivered object, everything verified; return how often each data set is there, by its digest."""
    found: Counter[bytes] = Counter()
    for object_id in list(centre.objects):
        dataset, entry, parts = centre.open(object_id)
        sent = Image(entry.sop_instance_uid, dataset)
        assert entry.evaluated, "the sealed index of a whole image says that it could not be read"
        assert str(parts.binding.object_id) == object_id
        found[sent.digest] += 1
    return found


def verify_none_lost(acknowledged: Iterable[Image], found: "Counter[bytes]") -> None:
    lost = [sent.instance for sent in acknowledged if not found[sent.digest]]
    assert not lost, f"{len(lost)} acknowledged images are lost: {lost[:3]}"


def verify_none_twice(found: "Counter[bytes]") -> None:
    twice = [digest for digest, count in found.items() if count > 1]
    assert not twice, f"{len(twice)} images are there twice"


def verify_only_sent(sent: Iterable[Image], found: "Counter[bytes]") -> None:
    unknown = found.keys() - {one.digest for one in sent}
    assert not unknown, f"{len(unknown)} objects open to what nobody sent"


def records(centre: Centre) -> list[AuditRecord]:
    return [AuditRecord.parse(stored.public) for stored in centre.audit]


def verify_log(centre: Centre) -> list[AuditRecord]:
    """Check the log as the centre holds it, whose chain it verified on arrival; return its records.

    Numbers run from one without a gap. Each delivered object was recorded once as captured and once as delivered,
    in that order, and nothing else was.
    """
    held = records(centre)
    assert [record.seq for record in held] == list(range(1, len(held) + 1)), "the journal's numbers have a gap"
    captured = _numbers(held, Event.IMAGE_CAPTURED)
    handed_on = _numbers(held, Event.IMAGE_DELIVERED)
    for name, numbers in (*captured.items(), *handed_on.items()):
        assert len(numbers) == 1, f"object {name} is recorded {len(numbers)} times"
    assert handed_on.keys() == centre.objects.keys(), "what is recorded as delivered is not what the centre holds"
    for name, (number,) in handed_on.items():
        assert name in captured, f"object {name} was delivered and never recorded as captured"
        assert captured[name][0] < number, f"object {name} is recorded as delivered before it was captured"
    return held


def verify_failures_recorded(held: Iterable[AuditRecord], event: Event, least: int) -> None:
    """Check that the log has `least` failures of a kind, each with a reason."""
    failures = [record for record in held if record.event is event]
    assert len(failures) >= least, f"{least} failures happened and {len(failures)} {event.value} are in the log"
    for record in failures:
        assert record.outcome is not Outcome.SUCCESS
        assert record.reason


def verify_no_plaintext(folder: Path, wanted: Collection[Needle] | None = None) -> None:
    found = list(search_files([path for path in folder.rglob("*") if path.is_file()], tuple(wanted or betrayals())))
    assert not found, f"{found[0].path.name} holds {found[0].needle.what}"


def verify_all(centre: Centre, folder: Path, modality: Modality) -> list[AuditRecord]:
    """Every check that holds once everything that waited has been delivered."""
    found = delivered(centre)
    verify_none_lost(modality.acknowledged.values(), found)
    verify_none_twice(found)
    verify_no_plaintext(folder)
    return verify_log(centre)


def _numbers(held: Iterable[AuditRecord], event: Event) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = {}
    for record in held:
        if record.event is event and record.outcome is Outcome.SUCCESS:
            numbers.setdefault(record.what[0].name, []).append(record.seq)
    return numbers
