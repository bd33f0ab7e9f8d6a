"""Where the centre keeps its things and which doors it opens. Read once, validated whole, passed in."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from shared.enrolment.exchange import ADDRESS_PATTERN
from shared.errors import Refused


class SettingRefused(Refused):
    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"setting {name}: {why}")
        self.name, self.why = name, why


class DataInUse(Refused):
    def __init__(self, data: Path) -> None:
        super().__init__(f"{data} is in use by another control plane process; one at a time works on a data folder")
        self.data = data


@dataclass(frozen=True)
class Folders:
    """The data folder's parts. `root_key` is the one thing that no backup may hold."""

    data: Path

    @property
    def database(self) -> Path:
        return self.data / "db" / "leadglass.sqlite"

    @property
    def objects(self) -> Path:
        return self.data / "objects"

    @property
    def incoming(self) -> Path:
        return self.data / "incoming"

    @property
    def root_key(self) -> Path:
        return self.data / "root-key" / "root.key"

    @property
    def broker(self) -> Path:
        return self.data / "broker"

    def make(self) -> None:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.database.parent, self.objects, self.incoming, self.broker):
            folder.mkdir(mode=0o700, exist_ok=True)

    @contextmanager
    def sole_use(self) -> Iterator[None]:
        """Keep other control plane processes out while the block runs; the kernel lets go when this process ends.

        Raises DataInUse.
        """
        descriptor = os.open(self.data, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as exc:
            raise DataInUse(self.data) from exc
        finally:
            os.close(descriptor)


def verify_host_name(host: str) -> None:
    """Raises SettingRefused: it would fit no certificate or address; an IPv6 address stands in brackets."""
    if not re.fullmatch(ADDRESS_PATTERN, host):
        raise SettingRefused("host", f"{host!r} is not a DNS name, an IPv4 address, or an IPv6 address in brackets")


@dataclass(frozen=True)
class Settings:
    """Ports of 0 are chosen by the system and told in the ready file. `host` is what hosts reach the centre by."""

    folders: Folders
    host: str = "127.0.0.1"
    host_port: int = 8442
    enrol_port: int = 8441
    people_host: str = "127.0.0.1"
    people_port: int = 8440
    mqtt_port: int = 8883
    with_broker: bool = True

    def __post_init__(self) -> None:
        verify_host_name(self.host)
        try:
            loopback = ip_address(self.people_host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise SettingRefused("people_host", f"the people's door is plain HTTP and opens on loopback only, not on "
                                                f"{self.people_host}; reach it through an SSH tunnel")  # fmt: skip
