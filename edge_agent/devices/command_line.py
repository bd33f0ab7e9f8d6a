"""What the kernel was told at its start (/proc/cmdline)."""

import re

_SETTING = re.compile(r"(?:^|\s)\"?usbcore\.authorized_default=(-?[0-9])\"?(?=\s|$)")


def authorized_default(command_line: str) -> int | None:
    """Return what `usbcore.authorized_default` is at the start, the last one where there are several; None: not set."""
    settings = _SETTING.findall(command_line)
    return int(settings[-1]) if settings else None
