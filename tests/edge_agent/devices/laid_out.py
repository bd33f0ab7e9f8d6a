"""Recorded trees of sysfs, laid out as files; `record.py` says what is in them and how they were made."""

from pathlib import Path

RECORDED = Path(__file__).parent / "recorded"
NAMES = sorted(path.stem for path in RECORDED.glob("*.umockdev"))
_CLASSES = ("block", "input", "net")


def lay_out(name: str, root: Path) -> Path:
    """Make the folders and links of /sys below `root` as they were when `name` was recorded; return `root`."""
    for block in (RECORDED / f"{name}.umockdev").read_text(encoding="utf-8").split("\n\n"):
        lines = [line for line in block.splitlines() if line]
        if lines:
            _device(lines, root)
    (root / "bus" / "usb" / "drivers_probe").write_bytes(b"")
    return root


def _device(lines: list[str], root: Path) -> None:
    folder = root / lines[0].removeprefix("P: /")
    folder.mkdir(parents=True, exist_ok=True)
    subsystem = ""
    for line in lines[1:]:
        kind, rest = line.split(": ", 1)
        name, _, value = rest.partition("=")
        if kind == "E" and name == "SUBSYSTEM":
            subsystem = value
        elif kind == "L":
            (folder / name).symlink_to(value)
        elif kind in "AH":
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(bytes.fromhex(value) if kind == "H" else unescaped(value))
    place = root / "class" / subsystem if subsystem in _CLASSES else root / "bus" / subsystem / "devices"
    place.mkdir(parents=True, exist_ok=True)
    up = "../" * len(place.relative_to(root).parts)
    (place / folder.name).symlink_to(f"{up}{folder.relative_to(root)}")


def unescaped(text: str) -> bytes:
    return text.encode("ascii").decode("unicode_escape").encode("latin-1")
