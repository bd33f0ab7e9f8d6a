"""Make what the lab needs and is not in the cache: `python -m tests.lab`."""

import sys
import time

from tests.lab import cache
from tests.lab.image import NoLab, image
from tests.lab.lab import snapshot
from tests.lab.machine import Boot
from tests.lab.media import media


def main() -> int:
    began = time.monotonic()
    print(f"lab: guest, snapshot and sticks in {cache.cache_folder()} ...", end="", flush=True)
    try:
        snapshot(image(), Boot())
        media()
    except NoLab as exc:
        print(f"\nlab: {exc}", file=sys.stderr)
        return 1
    print(f" {time.monotonic() - began:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
