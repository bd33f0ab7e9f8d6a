import pytest

from edge_agent.devices.command_line import authorized_default


@pytest.mark.parametrize(
    "line, value",
    [
        ("BOOT_IMAGE=/vmlinuz root=/dev/sda1 usbcore.authorized_default=0 quiet\n", 0),
        ("usbcore.authorized_default=0", 0),
        ("usbcore.authorized_default=0 usbcore.authorized_default=1", 1),
        ("usbcore.authorized_default=-1", -1),
        ("usbcore.authorized_default=2 quiet", 2),
        ('"usbcore.authorized_default=0"', 0),
        ("usbcore.authorized-default=0", 0),
        ("quiet", None),
        ("", None),
        ("xusbcore.authorized_default=0", None),
        ("usbcore.authorized_default=0x", None),
        ("usbcore.authorized_default=10", None),
        ("usbcore.authorized_default=", None),
        ("usbcore.authorized_default", None),
        ("root=/x quiet -- usbcore.authorized_default=0", None),
    ],
)
def test_reads_what_the_kernel_was_started_with(line: str, value: int | None) -> None:
    assert authorized_default(line) == value
