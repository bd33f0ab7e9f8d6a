"""What was seen of a machine and of what it can reach; where nothing could be seen, a text beside it says why."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from edge_agent.host_watch.observations import KernelClock, Place, Space


@dataclass(frozen=True)
class System:
    kernel: str  # as `uname -r` prints it
    udev_runs: bool
    systemd: int | None  # its version; None: there is none
    systemd_runs: bool
    has_cgroup2: bool
    has_cgroup_bpf: bool | None  # None: the kernel's configuration is not there to be read
    time_zone: str  # empty: it is not set


@dataclass(frozen=True)
class Memory:
    total_mib: int
    available_mib: int


@dataclass(frozen=True)
class Usb:
    authorized_default: int | None  # of the running kernel; None: it has no usbcore
    pinned: int  # devices of this machine's console
    pins_unreadable: str = ""


@dataclass(frozen=True)
class Tpm:
    version: int | None  # None: there is none
    has_device: bool
    has_account: bool  # the agent's
    account_may: bool  # it is in the group of the device


@dataclass(frozen=True)
class Disks:
    spool: Place
    swaps: tuple[Place, ...]
    swaps_unseen: str
    space: Space


@dataclass(frozen=True)
class Port:
    """`taken_by` is who listens on it, empty where nobody does; `why` is what else keeps us from it.

    `only_root`: an account without capabilities, as the agent's, may not.
    """

    taken_by: str = ""
    why: str = ""
    is_ours: bool = False
    only_root: bool = False


@dataclass(frozen=True)
class Reached:
    """Whether somebody answers at an address; `why` is empty where they do."""

    address: str
    why: str = ""


@dataclass(frozen=True)
class CentreClock:
    date: datetime | None
    ours: datetime | None = None
    took: timedelta = timedelta()
    unseen: str = ""


@dataclass(frozen=True)
class Network:
    dicom: Port
    dicom_tls: Port | None
    enrolment: Reached
    hosts: Reached
    broker: Reached
    echoes: tuple[Reached, ...]
    centre_clock: CentreClock


@dataclass(frozen=True)
class Facts:
    system: System
    memory: Memory | None
    usb: Usb
    tpm: Tpm
    disks: Disks
    clock: KernelClock | None
    clock_unseen: str
    network: Network
