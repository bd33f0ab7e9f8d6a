"""A test bed of umockdev by ctypes: sysfs devices and kernel events that any process started with it sees.

The process has to run under `umockdev-wrapper`; libumockdev's own environment variable reaches children by `child`.
"""

import ctypes
import os
from collections.abc import Mapping

Values = Mapping[str, str | bytes]
_STRING = ctypes.c_char_p


class TestBed:
    __test__ = False  # for pytest: no class of tests

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libumockdev.so.0")
        self._library.umockdev_testbed_new.restype = ctypes.c_void_p
        self._bed = ctypes.c_void_p(self._library.umockdev_testbed_new())
        self._library.umockdev_testbed_get_root_dir.restype = _STRING
        self._library.umockdev_testbed_add_devicev.restype = _STRING
        self.root = self._library.umockdev_testbed_get_root_dir(self._bed).decode()

    @property
    def child(self) -> dict[str, str]:
        """The environment for a process that is to see the devices."""
        return {**os.environ, "UMOCKDEV_DIR": self.root}

    def add(self, subsystem: str, name: str, parent: str | None, attributes: Values, properties: Values) -> str:
        """Make a device and send its `add`; return its path in /sys."""
        path: bytes = self._library.umockdev_testbed_add_devicev(
            self._bed,
            subsystem.encode(),
            name.encode(),
            parent.encode() if parent else None,
            _strings(attributes),
            _strings(properties),
        )
        return path.decode()

    def load(self, recorded: str) -> None:
        """Make all devices of a recording, each with its `add`."""
        loaded = self._library.umockdev_testbed_add_from_string(self._bed, recorded.encode(), None)
        assert loaded, "umockdev does not take the recording"

    def uevent(self, path: str, action: str) -> None:
        self._library.umockdev_testbed_uevent(self._bed, path.encode(), action.encode())

    def remove(self, path: str) -> None:
        """Send `remove` and take the device away."""
        self.uevent(path, "remove")
        self._library.umockdev_testbed_remove_device(self._bed, path.encode())


def _strings(values: Values) -> ctypes.Array[ctypes.c_char_p]:
    flat = [part if isinstance(part, bytes) else part.encode() for pair in values.items() for part in pair]
    return (_STRING * (len(flat) + 1))(*flat, None)
