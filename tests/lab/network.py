"""A network card with one cable: to the control plane on the machine outside, and to nothing else.

The card is plugged into a guest that runs, so a machine has none unless a test asks for it. QEMU answers the guest's
ARP and passes on what is sent to `ADDRESS` at the ports named; whatever else is sent is dropped (`restrict=on`): no
name is resolved and no other address is reached, the outer machine's neither.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from tests.lab.guest import Guest, quoted
from tests.lab.qmp import Qmp

ADDRESS, OWN = "10.0.2.100", "10.0.2.15"
_SLOT, _CARD = "slot3", "net0"
_PASSING = Path(__file__).with_name("passing.py")


class Network:
    def __init__(self, qmp: Qmp, guest: Guest) -> None:
        self._qmp, self._guest = qmp, guest

    def plug(self, ports: Iterable[int], name: str = "centre") -> None:
        """Have `name` in the guest be the machine outside, at these ports of its loopback address."""
        passed = [
            {"str": f"tcp:{ADDRESS}:{port}-cmd:{quoted(sys.executable, str(_PASSING), str(port))}"} for port in ports
        ]
        self._qmp.ask("netdev_add", type="user", id=_CARD, restrict=True, ipv6=False, guestfwd=passed)
        self._qmp.ask("device_add", driver="virtio-net-pci", id="card0", netdev=_CARD, bus=_SLOT, romfile="")
        self._guest.await_there("/sys/class/net/eth0")
        self._guest.run(
            f"busybox ip link set lo up; busybox ip address add {OWN}/24 dev eth0 && busybox ip link set eth0 up && "
            f"echo {ADDRESS} {name} >> /etc/hosts"
        )
