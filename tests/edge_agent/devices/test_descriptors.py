from hypothesis import given
from hypothesis import strategies as st

from edge_agent.devices.descriptors import MAX_BYTES, MAX_INTERFACES, MAX_PROBLEMS, parse_descriptors
from shared.devices.device import Interface
from tests.edge_agent.devices.hostile import (
    KEYBOARD,
    STORAGE,
    configuration,
    device,
    endpoint,
    interface,
    of_interfaces,
    plain,
    through_the_kernel,
)

CODES = st.tuples(*[st.integers(0, 255)] * 3)


def problems_of(raw: bytes) -> str:
    return "; ".join(parse_descriptors(raw).problems)


def test_lists_every_interface_in_order_and_a_repeated_one_again() -> None:
    # As USBGuard does: a network adapter has 0a:00:00 twice, once for each alternate setting.
    data = (0x0A, 0, 0)
    body = interface((2, 6, 0)) + interface(data, 1) + interface(data, 1, 1) + endpoint() + endpoint()

    read = parse_descriptors(device() + configuration(body, 2))

    assert read.interfaces == (Interface(2, 6, 0), Interface(*data), Interface(*data))
    assert read.problems == ()


def test_lists_the_interfaces_of_every_configuration() -> None:
    both = device(configurations=2) + configuration(interface(STORAGE)) + configuration(interface(KEYBOARD))

    assert parse_descriptors(both).interfaces == (Interface(*STORAGE), Interface(*KEYBOARD))
    assert problems_of(both) == ""


def test_reads_what_the_device_says_of_itself() -> None:
    fields = parse_descriptors(plain()).device

    assert fields is not None
    assert (fields.usb, fields.vendor, fields.product, fields.version) == (0x0200, 0x0781, 0x5581, 0x0100)


def test_passes_over_descriptors_that_it_does_not_know() -> None:
    body = bytes((8, 11, 0, 2, 8, 6, 0x50, 0)) + interface(STORAGE) + bytes((6, 48, 0, 0, 0, 0)) + endpoint()

    assert parse_descriptors(device() + configuration(body)).problems == ()


def test_a_keyboard_hidden_behind_a_length_that_runs_into_the_next_configuration_is_a_problem() -> None:
    # No kernel gives such a file; who walks from length to length steps over the second header and its keyboard.
    hidden = configuration(interface(KEYBOARD))
    swallowing = bytes((2 + len(hidden), 0x24))
    raw = device(configurations=2) + configuration(interface(STORAGE) + swallowing) + hidden

    assert "a descriptor beyond the end of its configuration" in problems_of(raw + configuration(interface(STORAGE)))
    assert "2 configurations are declared and 1 are there" in problems_of(raw)


def test_a_keyboard_in_a_configuration_that_is_said_to_be_part_of_the_first_is_a_problem() -> None:
    hidden = configuration(interface(KEYBOARD))
    raw = device(configurations=1) + configuration(interface(STORAGE), total=18 + len(hidden)) + hidden

    read = parse_descriptors(raw)

    assert Interface(*KEYBOARD) in read.interfaces
    assert read.problems == ("1 configurations are declared and 2 are there",)


def test_a_configuration_that_promises_more_than_the_kernel_could_read_is_none() -> None:
    # Some honest devices are made like this, and the kernel binds what it did read.
    promising = device() + configuration(interface(STORAGE), 5, total=200)

    assert parse_descriptors(promising).interfaces == (Interface(*STORAGE),)
    assert parse_descriptors(promising).problems == ()


def test_no_length_of_zero_holds_it_up() -> None:
    assert "a descriptor of 0 bytes where 4 are left" in problems_of(device() + configuration(bytes(4)))


def test_a_hundred_interfaces_are_listed_and_are_a_problem() -> None:
    read = parse_descriptors(of_interfaces([KEYBOARD] * 100))

    assert len(read.interfaces) == 100
    assert read.problems == ("100 interfaces, of which the kernel takes 32",)


def test_stops_listing_where_a_device_has_more_than_any_can() -> None:
    body = interface(STORAGE) * (MAX_INTERFACES + 5)

    read = parse_descriptors(device() + configuration(body))

    assert len(read.interfaces) == MAX_INTERFACES
    assert f"more than {MAX_INTERFACES} interfaces and alternate settings" in read.problems


def test_says_what_is_not_as_it_has_to_be() -> None:
    good = configuration(interface(STORAGE))

    assert problems_of(b"") == "no device descriptor at the beginning"
    assert problems_of(device()[:17]) == "no device descriptor at the beginning"
    assert problems_of(device()) == "1 configurations are declared and 0 are there"
    assert problems_of(device(configurations=2) + good) == "2 configurations are declared and 1 are there"
    assert problems_of(device() + good + b"\x09") == "a descriptor of 9 bytes where 1 are left"
    assert problems_of(device() + good + device()) == "a second device descriptor"
    assert "beyond the end of its configuration" in problems_of(device() + interface(STORAGE) + good)
    assert "beyond the end of its configuration" in problems_of(device() + configuration(interface(STORAGE), total=17))
    assert "a configuration of 10 bytes" in problems_of(device() + b"\x0a" + good[1:] + b"\0")
    assert problems_of(device() + configuration(b"\x08\x04" + bytes(6))) == "an interface of 8 bytes"
    assert problems_of(device() + configuration(b"\x0a\x04" + bytes(8))) == "an interface of 10 bytes"
    assert (
        problems_of(device() + configuration(interface(STORAGE) + b"\x08\x05" + bytes(6))) == "an endpoint of 8 bytes"
    )
    assert problems_of(device() + configuration(endpoint() + interface(STORAGE))) == "an endpoint before any interface"


def test_more_than_the_kernel_gives_is_a_problem() -> None:
    assert f"more than {MAX_BYTES} bytes" in problems_of(plain() + bytes(MAX_BYTES))


@given(st.lists(CODES, min_size=1, max_size=32))
def test_whatever_is_well_formed_is_read_whole(codes: list[tuple[int, int, int]]) -> None:
    read = parse_descriptors(of_interfaces(codes))

    assert read.interfaces == tuple(Interface(*each) for each in codes)
    assert read.problems == ()


@given(st.integers(0, 58))
def test_what_is_cut_off_within_a_descriptor_is_a_problem(cut: int) -> None:
    whole = of_interfaces([STORAGE, KEYBOARD])
    read = parse_descriptors(whole[:cut])

    # Between two descriptors it looks like a configuration of which the kernel could read no more.
    assert bool(read.problems) == (cut not in {27, 36, 43, 52})


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda rest: device() + rest))
def test_no_bytes_make_it_fail_and_what_it_says_stays_small(raw: bytes) -> None:
    read = parse_descriptors(raw)

    assert len(read.interfaces) <= len(raw) // 9
    assert len(read.problems) <= MAX_PROBLEMS
    assert all(problem.isascii() and problem.isprintable() and len(problem) < 120 for problem in read.problems)


@given(st.lists(st.binary(max_size=60), max_size=3), st.lists(st.integers(0, 100), min_size=3, max_size=3))
def test_what_has_no_problem_hides_no_interface_that_the_kernel_found(bodies: list[bytes], totals: list[int]) -> None:
    sent = [configuration(body, total=total) for body, total in zip(bodies, totals, strict=False)]
    file, bound = through_the_kernel(sent)
    read = parse_descriptors(file)

    assert read.problems or set(bound) <= set(read.interfaces)


@given(st.lists(st.lists(CODES, max_size=4), min_size=1, max_size=3), st.binary(max_size=6))
def test_garbage_after_a_configuration_hides_nothing(codes: list[list[tuple[int, int, int]]], garbage: bytes) -> None:
    bodies = [b"".join(interface(each, number) for number, each in enumerate(some)) + garbage for some in codes]
    file, bound = through_the_kernel([configuration(body) for body in bodies])
    read = parse_descriptors(file)

    assert read.problems or set(bound) <= set(read.interfaces)
    assert len(bound) >= sum(map(len, codes))
