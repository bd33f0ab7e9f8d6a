"""A drive at a sanitize tells no capacity, and a kernel that asks meanwhile takes it for empty until it asks again."""

from contextlib import suppress

from edge_agent.sanitize.drive import Drive


def have_it_asked_again(drive: Drive) -> None:
    with suppress(OSError):
        (drive.sysfs / "device" / "rescan").write_text("1", encoding="ascii")
