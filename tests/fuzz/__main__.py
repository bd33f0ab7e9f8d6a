"""Fuzzes one target, or each in turn, with atheris (libFuzzer, guided by coverage).

python -m tests.fuzz NAME|all [SECONDS] [FILE]    FILE: run that one input and no other, to see a finding again

What it finds is written to build/fuzz/; an input worth keeping becomes a seed of its target, or a test. atheris is in
no lock: it is built for few versions of Python, and the tests run the same targets without it.
"""

import logging
import subprocess
import sys
import warnings
from pathlib import Path

_SECONDS = 60
_MOST_BYTES = 1 << 16
_MOST_MIB = 512
_HANG_S = 20
_OUT = Path("build") / "fuzz"


def main(arguments: list[str]) -> int:
    if not arguments:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    name, seconds = arguments[0], int(arguments[1]) if len(arguments) > 1 else _SECONDS
    if name == "all":
        from tests.fuzz.every import EVERY

        one = [sys.executable, "-m", "tests.fuzz"]
        return max(subprocess.run([*one, each, str(seconds)], check=False).returncode for each in EVERY)
    fuzz(name, seconds, arguments[2:3])
    return 0


def fuzz(name: str, seconds: int, only: list[str]) -> None:
    import atheris

    # What is imported from here on is watched; cryptography and the standard library beneath it are not.
    with atheris.instrument_imports(include=["shared", "edge_agent", "pynetdicom", "pydicom"]):
        from tests.fuzz.every import EVERY
    # As in the agent's process: libraries quote in warnings and log lines what they read.
    logging.disable()
    warnings.simplefilter("ignore")
    target = EVERY[name]
    corpus = _OUT / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    limits = [
        f"-max_total_time={seconds}",
        f"-max_len={_MOST_BYTES}",
        f"-rss_limit_mb={_MOST_MIB}",
        f"-timeout={_HANG_S}",
        f"-artifact_prefix={_OUT}/{name}-",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *(only or [str(corpus), *limits])], target.try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
