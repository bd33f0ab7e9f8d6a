"""The reader of USB descriptors: each byte of them is the device's own."""

from edge_agent.devices.descriptors import MAX_INTERFACES, MAX_PROBLEMS, parse_descriptors
from edge_agent.devices.fingerprint import fingerprint
from shared.errors import Malformed
from tests.edge_agent.devices.hostile import (
    KEYBOARD,
    STORAGE,
    configuration,
    device,
    interface,
    of_interfaces,
    plain,
    through_the_kernel,
)
from tests.fuzz.target import Target


def read(data: bytes) -> None:
    found = parse_descriptors(data)
    assert len(found.interfaces) <= min(MAX_INTERFACES, len(data) // 9)
    assert len(found.problems) <= MAX_PROBLEMS
    assert all(problem.isascii() and problem.isprintable() for problem in found.problems)
    assert len(fingerprint(b"", b"", b"", b"", data)) == 44
    _hides_nothing(data[18:])
    if found.problems:
        raise Malformed("descriptors", found.problems[0])


def _hides_nothing(sent: bytes) -> None:
    """Take `sent` for what a device sends to the kernel, one configuration after the other."""
    configurations: list[bytes] = []
    while len(sent) >= 9 and len(configurations) < 8:
        size = max(9, int.from_bytes(sent[2:4], "little"))
        configurations.append(b"\x09\x02" + sent[2:size])
        sent = sent[size:]
    file, bound = through_the_kernel(configurations)
    found = parse_descriptors(file)
    assert found.problems or set(bound) <= set(found.interfaces), "an interface is hidden from us and not the kernel"


TARGET = Target(
    "descriptors",
    read,
    (
        plain(STORAGE),
        of_interfaces([STORAGE, KEYBOARD, (2, 6, 0), (10, 0, 0)]),
        device(configurations=2) + configuration(interface(STORAGE)) + configuration(interface(KEYBOARD)),
        device(0x1D6B, 3) + configuration(interface((9, 0, 0)) + bytes((6, 48, 0, 0, 2, 0))),
    ),
)
