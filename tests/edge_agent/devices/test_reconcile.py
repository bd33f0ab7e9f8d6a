from hypothesis import given
from hypothesis import strategies as st

from edge_agent.devices.reconcile import Changes, Mark, reconcile, seen
from shared.fleet.devices import Seen

STICK, OTHER = Mark("stick", "5.100", "boot"), Mark("other", "6.200", "boot")
PORTS = st.sampled_from(["usb1", "1-1", "1-2", "1-2.1", "1-10", "2-1"])
MARKS = st.builds(Mark, st.sampled_from("ab"), st.sampled_from("12"), st.sampled_from("xy"))
NOTHING = Changes((), (), (), (), ())


def test_what_is_as_it_was_is_still_there() -> None:
    assert reconcile({"1-1": STICK}, {"1-1": STICK}).still == ("1-1",)
    assert reconcile({"1-1": STICK}, {"1-1": STICK}).nothing


def test_tells_what_came_and_what_went() -> None:
    changes = reconcile({"1-1": STICK}, {"1-2": OTHER})

    assert (changes.attached, changes.detached) == (("1-2",), ("1-1",))


def test_another_device_in_the_same_port_is_a_change() -> None:
    assert reconcile({"1-1": STICK}, {"1-1": OTHER}).changed == ("1-1",)


def test_the_same_device_pulled_and_put_back_unseen_is_told() -> None:
    again = Mark("stick", "7.300", "boot")

    assert reconcile({"1-1": STICK}, {"1-1": again}).replugged == ("1-1",)


def test_after_a_new_start_of_the_machine_the_kernels_numbers_say_nothing() -> None:
    assert reconcile({"1-1": STICK}, {"1-1": Mark("stick", "2.7", "next boot")}).still == ("1-1",)
    assert reconcile({"1-1": STICK}, {"1-1": Mark("grown", "5.100", "next boot")}).changed == ("1-1",)


def test_hubs_come_before_and_go_after_what_hangs_on_them() -> None:
    hub = {"1-10": STICK, "1-2": STICK, "1-2.1": OTHER}

    assert reconcile({}, hub).attached == ("1-2", "1-2.1", "1-10")
    assert reconcile(hub, {}).detached == ("1-10", "1-2.1", "1-2")


def test_what_was_found_by_looking_was_not_seen_as_it_happened() -> None:
    changes = reconcile({"1-1": STICK, "1-2": STICK, "1-3": STICK}, {"1-1": STICK, "1-2": OTHER, "1-4": OTHER})

    assert [seen(port, changes) for port in ("1-1", "1-2", "1-4")] == [Seen.BEFORE, Seen.WHILE_DOWN, Seen.WHILE_DOWN]


@given(st.dictionaries(PORTS, MARKS), st.dictionaries(PORTS, MARKS))
def test_every_port_is_told_exactly_once(known: dict[str, Mark], present: dict[str, Mark]) -> None:
    changes = reconcile(known, present)

    told = [*changes.attached, *changes.detached, *changes.changed, *changes.replugged, *changes.still]
    assert sorted(told) == sorted(known.keys() | present.keys())
    assert {*changes.attached, *changes.changed, *changes.replugged, *changes.still} == present.keys()


@given(st.dictionaries(PORTS, MARKS))
def test_nothing_happened_where_all_is_as_it_was(known: dict[str, Mark]) -> None:
    assert reconcile(known, known).nothing
    assert reconcile({}, {}) == NOTHING
