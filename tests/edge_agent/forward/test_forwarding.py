"""What waits on a host for an archive gets there in order and unchanged, and then nothing here opens it any more."""

from shared import canonical
from shared.audit.record import Event, Outcome, Subject
from tests.edge_agent.forward.bench import ForwardBench, pixels, route
from tests.fakes.archive import CT, JPEG, MR, Archive


def test_everything_arrives_in_order_over_one_association(bench: ForwardBench, pacs: Archive) -> None:
    to = route(pacs)
    bench.publish(to)
    sent = [bench.capture(pixels(20_000, number), sop_class_uid=CT if number % 3 else MR) for number in range(12)]
    sent.append(bench.capture(b"\xff\xd8" * 4000, transfer_syntax=JPEG))
    assert bench.queue.openable() == 13

    again = bench.work(to)
    assert again is None
    assert pacs.stored == [one.arrived for one in sent]
    assert (pacs.associations, pacs.aborts) == (1, 0)
    assert bench.states() == ["delivered"] * 13
    assert bench.queue.openable() == 0


def test_evidence_says_what_proved_it_and_what_did_not(bench: ForwardBench, pacs: Archive) -> None:
    to = route(pacs)
    bench.publish(to)
    sent = bench.capture()

    bench.work(to)
    ((evidence,),) = bench.rows("SELECT evidence FROM forward")
    says = canonical.parse(evidence.encode(), "evidence")
    assert isinstance(says, dict)
    assert (says["proof"], says["status"], says["committed"]) == ("C-STORE response", "0000", False)
    assert says["address"] == f"127.0.0.1:{pacs.port}"
    (record,) = bench.records(Event.ROUTE_DELIVERED)
    assert record.outcome is Outcome.SUCCESS
    assert Subject("object", str(sent.object_id)) in record.what
    assert Subject("route", "pacs") in record.what
    assert (record.who[0].kind, record.who[0].name) == ("host", str(bench.host.host_id))
    assert sent.uid not in evidence


def test_the_running_part_sends_what_is_added(bench: ForwardBench, pacs: Archive) -> None:
    bench.publish(route(pacs))
    with bench.running():
        sent = bench.capture()

        assert bench.let_go.wait(30)
    assert pacs.stored == [sent.arrived]
    assert bench.queue.openable() == 0
