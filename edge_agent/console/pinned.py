"""The pinned devices as the guard knows them, which it neither judges nor de-authorises."""

from pathlib import Path

from edge_agent.console.pins import MAX_BYTES, Pin, Pins
from edge_agent.console.place import NoPlace
from edge_agent.console.plan import PINS, RULES
from edge_agent.console.sysfs import ConsoleSysfs, PortGone
from shared.errors import IntegrityFailure, Malformed


class PinsUnreadable(IntegrityFailure):
    def __init__(self, why: str) -> None:
        super().__init__(f"the list of pinned console devices is not what pin-console wrote: {why}")
        self.why = why


def load_pins(state: Path) -> Pins:
    """Return what is pinned on this host. Raises PinsUnreadable."""
    try:
        with (state / PINS).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return Pins()
    except OSError as exc:
        raise PinsUnreadable(exc.strerror or "it cannot be read") from exc
    try:
        return Pins.parse(data)
    except Malformed as exc:
        raise PinsUnreadable(exc.why) from exc


class PinnedConsole:
    """Tells a pinned device from any other by what the kernel shows of it now, like the udev rule."""

    def __init__(self, state: Path, sysfs: ConsoleSysfs, rules: Path = Path(RULES)) -> None:
        """`rules` is what `pin-console` wrote for udev, which works without the list."""
        self._state, self._sysfs, self._rules = state, sysfs, rules
        self._pins, self._read_at = Pins(), (0, 0, 0)
        self.is_doubtful = False  # some device is pinned, and which one cannot be read

    def refresh(self) -> bool:
        """Read the list if it changed; return whether it did. Raises PinsUnreadable: what was read before stays."""
        self.is_doubtful = True
        changed = self._refresh()
        self.is_doubtful = not self._pins.pins and self._rules.exists()
        return changed

    def _refresh(self) -> bool:
        try:
            status = (self._state / PINS).stat()
            mark = (status.st_ino, status.st_mtime_ns, status.st_size)
        except FileNotFoundError:
            mark = (0, 0, 0)
        except OSError as exc:
            raise PinsUnreadable(exc.strerror or "it cannot be read") from exc
        if mark == self._read_at:
            return False
        self._pins, self._read_at = load_pins(self._state), mark
        return True

    @property
    def pins(self) -> Pins:
        return self._pins

    def find(self, port: str, vendor: int, product: int) -> Pin | None:
        """Return the pin of the device that is at `port` now; None: it is not pinned, or is gone."""
        if not self._pins.pins:
            return None
        try:
            return self._pins.find(self._sysfs.place(port), vendor, product, self._sysfs.descriptors(port))
        except (PortGone, NoPlace):
            return None
