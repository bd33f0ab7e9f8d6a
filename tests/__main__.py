"""Run all tests, in two lanes side by side, since most tests wait for other processes.

The first lane begins with the virtual-machine lab, which waits most, and has about half of the whole. What it has to
say comes after the other is done. The exit code is pytest's own, the worse of the two.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence

FIRST = ("tests/lab", "tests/control_plane", "tests/contracts")


def main(options: Sequence[str]) -> int:
    pytest = [sys.executable, "-m", "pytest", "-q", *options]
    with tempfile.TemporaryFile("w+") as said:
        # Two runs would write one cache of what failed last.
        first = subprocess.Popen([*pytest, "-p", "no:cacheprovider", *FIRST], stdout=said, stderr=subprocess.STDOUT)
        try:
            others = subprocess.run([*pytest, *(f"--ignore={path}" for path in FIRST)], check=False).returncode
            code = first.wait()
        finally:
            first.terminate()
            first.wait()
        said.seek(0)
        print(f"\n{', '.join(FIRST)}\n{said.read()}", end="", flush=True)
    return max(others, code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
