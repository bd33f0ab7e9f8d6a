"""Run all tests: the virtual-machine lab beside the others, since each of the two mostly waits.

What the lab has to say comes after the others are done. The exit code is pytest's own, the worse of the two.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence

LAB = "tests/lab"


def main(options: Sequence[str]) -> int:
    pytest = [sys.executable, "-m", "pytest", "-q", *options]
    with tempfile.TemporaryFile("w+") as said:
        # Two runs would write one cache of what failed last.
        lab = subprocess.Popen([*pytest, "-p", "no:cacheprovider", LAB], stdout=said, stderr=subprocess.STDOUT)
        try:
            others = subprocess.run([*pytest, f"--ignore={LAB}"], check=False).returncode
            code = lab.wait()
        finally:
            lab.terminate()
            lab.wait()
        said.seek(0)
        print(f"\n{LAB}\n{said.read()}", end="", flush=True)
    return max(others, code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
