from edge_agent.host_watch.checks import CLOCK_DRIFT, DISK_ENCRYPTION, FREE_SPACE, MODALITY_PEERS
from edge_agent.host_watch.news import news
from shared.fleet.devices import Finding, FindingState
from tests.shared.made import NOW

FOUND, FINE, NOT_EVALUATED = FindingState.FOUND, FindingState.FINE, FindingState.NOT_EVALUATED


def of(check: str, state: FindingState, detail: str = "") -> Finding:
    return Finding(check, state, detail, NOW)


def test_what_was_found_is_news_once_and_what_else_is_found_is_news_too() -> None:
    one, other = of(MODALITY_PEERS, FOUND, "pid 7 talks to a"), of(MODALITY_PEERS, FOUND, "pid 7 talks to b")

    assert news((), (one,)) == (one,)
    assert news((one,), (one,)) == ()
    assert news((one,), (other, one)) == (other,)
    assert news((one, other), (one,)) == ()


def test_that_all_is_fine_is_news_only_where_it_was_not() -> None:
    fine = of(DISK_ENCRYPTION, FINE, "/a: encrypted disk")

    assert news((), (fine,)) == ()
    assert news((fine,), (fine,)) == ()
    assert news((of(DISK_ENCRYPTION, FOUND, "/a: plain disk"),), (fine,)) == (fine,)
    assert news((of(DISK_ENCRYPTION, NOT_EVALUATED, "late"),), (fine,)) == (fine,)


def test_what_can_no_longer_be_seen_is_news() -> None:
    late = of(DISK_ENCRYPTION, NOT_EVALUATED, "it did not answer within 60 s")

    assert news((of(DISK_ENCRYPTION, FINE, "/a: encrypted disk"),), (late,)) == (late,)
    assert news((late,), (late,)) == ()


def test_a_number_that_moves_is_no_news_and_another_folder_is() -> None:
    before = (of(FREE_SPACE, FOUND, "/a: 9 MiB free, 10 MiB wanted"), of(CLOCK_DRIFT, FOUND, "off by 3 ms"))
    now = (of(FREE_SPACE, FOUND, "/a: 8 MiB free, 10 MiB wanted"), of(CLOCK_DRIFT, FOUND, "off by 4 ms"))
    other = of(FREE_SPACE, FOUND, "/b: 8 MiB free, 10 MiB wanted")

    assert news(before, now) == ()
    assert news(before, (*now, other)) == (other,)
