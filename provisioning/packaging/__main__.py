"""`make deb`: the package of a modality host, in dist/."""

import sys
import tempfile
from pathlib import Path

from provisioning.packaging.build import ROOT, build, epoch, fetch
from shared.errors import Malformed, Unavailable


def main(out: Path = ROOT / "dist") -> int:
    """Build it and print where it is."""
    try:
        with tempfile.TemporaryDirectory(prefix="leadglass-deb-") as work:
            fetch(Path(work) / "fetched")
            print(build(Path(work) / "fetched", out, Path(work), epoch()))
    except (Malformed, Unavailable) as exc:
        print(f"leadglass: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
