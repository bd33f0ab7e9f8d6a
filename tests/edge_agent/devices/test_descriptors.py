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
    # The kernel leaves the rest of the first configuration and reads the second; who walks on from length to length
    # steps over the second one's header and its keyboard.
    hidden = configuration(interface(KEYBOARD))
    swallowing = bytes((2 + len(hidden), 0x24))
    raw = device(configurations=2) + configuration(interface(STORAGE) + swallowing) + hidden

    read = parse_descriptors(raw)

    assert Interface(*KEYBOARD) in read.interfaces
    assert f"a descriptor of {2 + len(hidden)} bytes where 2 are left in configuration 1" in read.problems


def test_a_keyboard_in_a_configuration_that_is_said_to_be_part_of_the_first_is_a_problem() -> None:
    hidden = configuration(interface(KEYBOARD))
    raw = device(configurations=1) + configuration(interface(STORAGE), total=18 + len(hidden)) + hidden

    assert "a device or configuration descriptor inside of configuration 1" in problems_of(raw)


def test_no_length_of_zero_holds_it_up() -> None:
    assert "a descriptor of 0 bytes where 4 are left" in problems_of(device() + configuration(bytes(4)))


def test_a_hundred_interfaces_are_listed_and_are_a_problem() -> None:
    read = parse_descriptors(of_interfaces([KEYBOARD] * 100))

    assert len(read.interfaces) == 100
    assert "configuration 1 declares 100 interfaces, of which the kernel takes 32" in read.problems


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
    assert "no descriptor of configuration 2" in problems_of(device() + good + b"\x09\x02\x09")
    assert "no descriptor of configuration 1" in problems_of(device() + interface(STORAGE))
    assert "states 0 bytes" in problems_of(device() + configuration(interface(STORAGE), total=0))
    assert "states 200 bytes and 18 are left" in problems_of(device() + configuration(interface(STORAGE), total=200))
    assert "declares 2 interfaces and has 1" in problems_of(device() + configuration(interface(STORAGE), 2))
    assert "an interface of 8 bytes" in problems_of(device() + configuration(b"\x08\x04" + bytes(6), 0))
    assert "an endpoint of 8 bytes" in problems_of(
        device() + configuration(interface(STORAGE) + b"\x08\x05" + bytes(6))
    )
    assert "an endpoint before any interface" in problems_of(device() + configuration(endpoint() + interface(STORAGE)))


def test_more_than_the_kernel_gives_is_a_problem() -> None:
    assert f"more than {MAX_BYTES} bytes" in problems_of(plain() + bytes(MAX_BYTES))


@given(st.lists(CODES, min_size=1, max_size=32))
def test_whatever_is_well_formed_is_read_whole(codes: list[tuple[int, int, int]]) -> None:
    read = parse_descriptors(of_interfaces(codes))

    assert read.interfaces == tuple(Interface(*each) for each in codes)
    assert read.problems == ()


@given(st.data())
def test_whatever_is_cut_off_is_a_problem(data: st.DataObject) -> None:
    whole = of_interfaces([STORAGE, KEYBOARD])
    cut = data.draw(st.integers(0, len(whole) - 1))

    assert parse_descriptors(whole[:cut]).problems


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda rest: device() + rest))
def test_no_bytes_make_it_fail_and_what_it_says_stays_small(raw: bytes) -> None:
    read = parse_descriptors(raw)

    assert len(read.interfaces) <= len(raw) // 9
    assert len(read.problems) <= MAX_PROBLEMS
    assert all(problem.isascii() and problem.isprintable() and len(problem) < 120 for problem in read.problems)


@given(st.lists(st.binary(min_size=2, max_size=40), max_size=12), st.integers(0, 400), st.integers(0, 3))
def test_what_has_no_problem_hides_no_interface_from_a_reader_like_the_kernels(
    bodies: list[bytes], total: int, configurations: int
) -> None:
    rest = b"".join(bytes((len(body), *body[1:])) for body in bodies)
    raw = device(configurations=configurations) + configuration(rest, total=total) + configuration(rest)
    read = parse_descriptors(raw)

    assert read.problems or set(as_the_kernel_reads(raw)) <= set(read.interfaces)


def as_the_kernel_reads(raw: bytes) -> list[Interface]:
    """Read as usb_parse_configuration of Linux does: it leaves the rest of a configuration that is not well formed."""
    found, position = [], 18
    for _ in range(raw[17]):
        if len(raw) < position + 9:
            break
        end = min(position + int.from_bytes(raw[position + 2 : position + 4], "little"), len(raw))
        at = position + 9
        while at + 2 <= end and raw[at] >= 2 and at + raw[at] <= end:
            if raw[at + 1] == 4 and raw[at] >= 9:
                found.append(Interface(*raw[at + 5 : at + 8]))
            at += raw[at]
        position = max(end, position + 9)
    return found
