"""Devices that QEMU cannot emulate: any ids and strings, several interfaces in one, a keyboard that types by itself.

They are made of the guest's own kernel (dummy_hcd) and come up on a bus of their own, so they need a guest that runs.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.lab.guest import Guest

SCRIPT = Path(__file__).parent / "inside" / "gadget.py"
PLACE = "/opt/lab/gadget.py"
BACKING = "/run/lab-{name}.img"


@dataclass(frozen=True)
class Gadget:
    """`storage`: the content of its medium. Functions appear as interfaces in the order storage, keyboard, network."""

    name: str
    vendor: str = "0951"
    product: str = "1666"
    serial: str = ""
    title: str = "DataTraveler"
    maker: str = "Kingston"
    storage: bytes | None = None
    keyboard: bool = False
    network: bool = False


class Gadgets:
    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def plug(self, gadget: Gadget) -> None:
        """Plug it in; the kernel has seen it when this returns, or will within a moment."""
        self._guest.put(PLACE, SCRIPT.read_bytes())
        what: dict[str, object] = asdict(gadget)
        if gadget.storage is not None:
            what["storage"] = BACKING.format(name=gadget.name)
            self._guest.put(str(what["storage"]), gadget.storage)
        self._guest.run(["python3", PLACE, "plug", json.dumps(what)])

    def unplug(self, name: str) -> None:
        self._guest.run(["python3", PLACE, "unplug", name])

    def type(self, text: str) -> bool:
        """Let the keyboard that was plugged last type; return whether the guest fetched the keys."""
        return self._guest.run(["python3", PLACE, "type", text], check=False).code == 0
