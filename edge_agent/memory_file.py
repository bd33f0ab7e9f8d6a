"""A file that is in memory only, for libraries that read what must not be on a disk from files alone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def in_memory(content: bytes) -> Iterator[Path]:
    """Yield the name under which this process can read `content`, until it leaves the block.

    No other account can; root can, as it can read our memory. Like that, it may be swapped out.
    """
    descriptor = os.memfd_create("leadglass", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(content)
        file.flush()
        yield Path(f"/proc/self/fd/{descriptor}")
