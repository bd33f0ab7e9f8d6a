"""What the kernel was told at its start (/proc/cmdline)."""

import re

# The kernel takes a dash in a name for an underscore.
_SETTING = re.compile(r"(?:^|\s)\"?usbcore\.authorized[_-]default=(-?[0-9])\"?(?=\s|$)", re.ASCII)


def authorized_default(command_line: str) -> int | None:
    """Return what `usbcore.authorized_default` was set to, the last one where there are several; None: it was not."""
    # What follows ` -- ` is for the first process.
    settings = _SETTING.findall(re.split(r"\s--\s", command_line)[0])
    return int(settings[-1]) if settings else None
