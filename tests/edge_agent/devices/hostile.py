"""Descriptors to be read, well formed and not."""

from collections.abc import Sequence
from struct import pack

from shared.devices.device import Interface

STORAGE, KEYBOARD = (0x08, 0x06, 0x50), (0x03, 0x01, 0x01)


def device(vendor: int = 0x0781, product: int = 0x5581, configurations: int = 1) -> bytes:
    return pack("<BBHBBBBHHHBBBB", 18, 1, 0x0200, 0, 0, 0, 64, vendor, product, 0x0100, 1, 2, 3, configurations)


def interface(codes: tuple[int, int, int], number: int = 0, alternate: int = 0) -> bytes:
    return bytes((9, 4, number, alternate, 1, *codes, 0))


def endpoint() -> bytes:
    return bytes((7, 5, 0x81, 2, 0, 2, 0))


def configuration(body: bytes, interfaces: int = 1, total: int | None = None) -> bytes:
    return pack("<BBHBBBBB", 9, 2, 9 + len(body) if total is None else total, interfaces, 1, 0, 0x80, 50) + body


def plain(*codes: tuple[int, int, int]) -> bytes:
    """Return the descriptors of a device with one configuration and these interfaces, each with an endpoint."""
    return of_interfaces(codes or (STORAGE,))


def of_interfaces(codes: Sequence[tuple[int, int, int]]) -> bytes:
    body = b"".join(interface(each, number) + endpoint() for number, each in enumerate(codes))
    return device() + configuration(body, len(codes))


def through_the_kernel(sent: Sequence[bytes]) -> tuple[bytes, list[Interface]]:
    """Return what is in `descriptors` of a device that sent these configurations, and the interfaces that Linux made.

    As usb_parse_configuration does: what follows a length that cannot be is left out of the one and of the other.
    """
    kept, bound = [], []
    for raw in sent:
        configured = raw[: int.from_bytes(raw[2:4], "little")]
        if len(configured) < 9:
            break  # and it has no more configurations than those before
        at = 9
        while at + 2 <= len(configured) and 2 <= configured[at] <= len(configured) - at:
            if configured[at + 1] == 4 and configured[at] >= 9:
                bound.append(Interface(*configured[at + 5 : at + 8]))
            at += configured[at]
        kept.append(configured[:at])
    return device(configurations=len(kept)) + b"".join(kept), bound
