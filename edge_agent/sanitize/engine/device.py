"""What the engine needs of a drive, and what a failing one says."""

import errno
from typing import Protocol

# What a drive answers for one place and not for another: only these are narrowed down, retried and listed. A bad sector
# comes as ENODATA as often as EIO.
OF_A_SECTOR = frozenset(
    {
        errno.EIO, errno.ENODATA, errno.EREMOTEIO, errno.EILSEQ, errno.ETIMEDOUT, errno.ETIME, errno.ENOLINK,
        errno.ENOSPC,
    }
)  # fmt: skip


class Device(Protocol):
    """A drive as it is addressed. Offsets and sizes are whole sectors, and buffers begin on a page.

    Every method raises OSError as the drive or the kernel has it.
    """

    @property
    def size_bytes(self) -> int: ...

    @property
    def sector_bytes(self) -> int: ...

    def write(self, at: int, data: memoryview) -> None:
        """Write all of `data`. The drive has taken it once this returns; it survives a power cut after `flush`."""

    def read(self, at: int, into: memoryview) -> None:
        """Fill `into` with what the drive itself gives, not with what this machine remembers of it."""

    def flush(self) -> None:
        """Have the drive make durable what it has taken."""


def described(exc: OSError) -> str:
    return f"{errno.errorcode.get(exc.errno or 0, 'error')}, {exc.strerror or exc}"
