"""`python -m provisioning.demo`: exit code 0 only where every expectation held, 1 where one did not, 2 on bad input."""

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from control_plane.db.engine import open_database
from control_plane.db.place import url_of
from control_plane.fleet.broker import find_mosquitto
from control_plane.people.accounts import Accounts
from control_plane.settings import Folders as CentreFolders
from provisioning.demo.demonstration import demonstrate
from provisioning.demo.display import Display, display_on
from provisioning.demo.processes import Interrupted, interrupt_on_signals
from provisioning.demo.stage import Centre, Folders, FolderTaken, FolderUnusable, Stage
from shared.clock import SystemClock

_HELD, _FAILED, _USAGE = range(3)

_DESCRIPTION = """\
Starts a control plane and an agent as real processes on loopback, sends them real DICOM images, opens every one of
them again, attacks the store, and searches every byte for what must not be there.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    display = display_on(sys.stdout, plain=options.plain)
    interrupt_on_signals()
    broker = not options.no_broker and find_mosquitto() is not None
    try:
        if not broker:
            _say_what_is_missing(display, wanted=not options.no_broker)
        with _folder(options.data, display) as data:
            keep = _keep if options.keep else None
            outcome = demonstrate(Folders(data), display, broker=broker, keep=keep)
    except (FolderTaken, FolderUnusable) as exc:
        sys.stderr.write(f"demo: {exc}\n")
        return _USAGE
    except Interrupted as exc:
        sys.stderr.write("demo: stopped; nothing of it is running any more\n")
        return 128 + exc.number
    return _HELD if outcome.held else _FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m provisioning.demo", description=_DESCRIPTION)
    parser.add_argument("--data", type=Path, metavar="DIR", help="keep both sides' data in this new or empty folder")
    parser.add_argument("--keep", action="store_true", help="leave it running at the end, with a sign-in link")
    parser.add_argument(
        "--no-broker", action="store_true", help="show policy pulled over HTTPS, also where Mosquitto is"
    )
    parser.add_argument("--plain", action="store_true", help="one plain line after another, as without a terminal")
    return parser


def _say_what_is_missing(display: Display, *, wanted: bool) -> None:
    display.say("In this run hosts pull policy over HTTPS; nothing is pushed over MQTT.")
    if wanted:
        display.say("Mosquitto is not installed here. To have it: sudo apt-get install mosquitto")


@contextmanager
def _folder(given: Path | None, display: Display) -> Iterator[Path]:
    """Yield where the data goes: the folder given, which stays, or a temporary one, which does not."""
    if given is not None:
        display.say(f"data stays in {given.absolute()}")
        yield given.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="leadglass-demo-") as folder:
        yield Path(folder)


def _keep(stage: Stage, centre: Centre) -> None:
    """Say where to look and stay until somebody ends it."""
    folders = CentreFolders(stage.folders.control_plane)
    accounts = Accounts(open_database(url_of(folders)), SystemClock())
    link = f"{centre.people.url}/sign-in?token={accounts.new_link(centre.people.person)}"
    display = stage.display
    display.say(f"Status page, for one sign-in within 15 minutes: {link}")
    program = Path(sys.executable).with_name("leadglass-server")
    display.say(f"Commands: {program} status --as {stage.folders.credential} --url {centre.people.url}")
    display.say(f"The host's: {program.with_name('leadglass-agent')} status --data {stage.folders.agent}")
    display.say("Both keep running. Ctrl-C stops them, and a temporary data folder goes with them.")
    with suppress(Interrupted):  # here it is how a person says: enough
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
