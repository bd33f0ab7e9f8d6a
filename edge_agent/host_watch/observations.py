"""What one look at the host brought, and what it could not see: a text beside each says why."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Process:
    """`path` is empty where it has no file, or where it cannot be read: `path_unseen` tells the two apart."""

    pid: int
    name: str
    path: str = ""
    path_unseen: bool = False
    sockets_unseen: str = ""  # why its connections cannot be seen; asked of the modality's processes only


@dataclass(frozen=True)
class Connection:
    """A socket that has a peer. `incoming`: the local port is one that is listened on, so the service is here."""

    pid: int | None
    protocol: str
    address: str  # the peer's
    peer_port: int
    local_port: int
    incoming: bool = False

    @property
    def service_port(self) -> int:
        return self.local_port if self.incoming else self.peer_port


@dataclass(frozen=True)
class Place:
    """Where something lies, in the words of `export_folder.lies_on`, with the device and file system as evidence."""

    name: str
    lies_on: str
    detail: str = ""


@dataclass(frozen=True)
class Space:
    folder: str
    free_bytes: int = 0
    unseen: str = ""


@dataclass(frozen=True)
class KernelClock:
    """What adjtimex(2) says; `max_error_us` is how far off the clock may be by the kernel's own account."""

    is_synchronised: bool
    offset_us: int
    estimated_error_us: int
    max_error_us: int


@dataclass(frozen=True)
class Observations:
    """`processes_unseen` says why there may be processes that are not in `processes`; the others likewise."""

    processes: tuple[Process, ...] = ()
    processes_unseen: str = ""
    connections: tuple[Connection, ...] = ()
    connections_unseen: str = ""
    places: tuple[Place, ...] = ()
    swaps: tuple[Place, ...] = ()
    swaps_unseen: str = ""
    spaces: tuple[Space, ...] = ()
    clock: KernelClock | None = None
    clock_unseen: str = ""
