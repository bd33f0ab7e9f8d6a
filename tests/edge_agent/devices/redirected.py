"""A USB device that says whatever it is told to say, for a virtual machine (usbredir protocol 0.7, QEMU's usb-redir).

    packet          = u32 type || u32 length of the rest || u64 id || the rest      (little endian)
    hello           = type 0, with an id of 32 bits: 64 bytes of text || u32 capabilities
    device connect  = type 1: u8 speed || class, subclass, protocol || u16 vendor || u16 product
    interfaces      = type 4: u32 count || 32 of number, class, subclass, protocol each
    endpoints       = type 5: 32 of type, interval, interface each || 32 u16 of packet size
    control         = type 100: u8 endpoint, request, type, status || u16 value, index, length || data

QEMU hands the guest's control requests on as they are, so that the guest's kernel reads these very descriptors.
"""

import contextlib
import socket
import threading
from pathlib import Path
from struct import Struct

_FIRST_HEADER, _HEADER, _CONTROL = Struct("<III"), Struct("<IIQ"), Struct("<BBBBHHH")
_CAPABILITIES = 1 << 4 | 1 << 5 | 1 << 6  # packet sizes, 64-bit ids, 32-bit lengths: what QEMU demands for xHCI
_HELLO, _CONNECT, _INTERFACES, _ENDPOINTS = 0, 1, 4, 5
_SET_CONFIGURATION, _GET_CONFIGURATION, _CONFIGURATION, _SET_ALTERNATE, _ALTERNATE = 6, 7, 8, 9, 11
_CONTROL_PACKET = 100
_GET_DESCRIPTOR = (0x80, 6)
_STALL = 4
_HIGH_SPEED = 2


class Redirected:
    """`descriptors` is as sysfs would have it: the device's, then those of each configuration."""

    def __init__(self, path: Path, configurations: list[bytes], device: bytes, strings: list[str]) -> None:
        self._configurations, self._device, self._strings = configurations, device, strings
        self.asked: list[tuple[int, ...]] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            hello = b"a device of ours".ljust(64, b"\0") + _CAPABILITIES.to_bytes(4, "little")
            self._socket.sendall(_FIRST_HEADER.pack(_HELLO, len(hello), 0) + hello)
            self._receive(_FIRST_HEADER.unpack(self._receive(_FIRST_HEADER.size))[1])
            self._send(_ENDPOINTS, 0, (b"\0" + b"\xff" * 15) * 2 + bytes(64) + b"\x40\0" * 32)
            self._send(_INTERFACES, 0, bytes(4 + 128))
            self._send(_CONNECT, 0, bytes((_HIGH_SPEED, 0, 0, 0)) + self._device[8:12])
            while header := self._receive(_HEADER.size):
                kind, length, number = _HEADER.unpack(header)
                self._answer(kind, number, self._receive(length))

    def _answer(self, kind: int, number: int, body: bytes) -> None:
        if kind == _SET_CONFIGURATION:
            self._send(_CONFIGURATION, number, b"\0" + body[:1])
        elif kind == _GET_CONFIGURATION:
            self._send(_CONFIGURATION, number, b"\0\x01")
        elif kind == _SET_ALTERNATE:
            self._send(_ALTERNATE, number, b"\0" + body[:2])
        elif kind == _CONTROL_PACKET:
            endpoint, request, what, _, value, index, length = _CONTROL.unpack_from(body)
            self.asked.append((what, request, value, index, length))
            data = self._said(what, request, value, length)
            status = _STALL if data is None else 0
            data = data or b""
            header = _CONTROL.pack(endpoint, request, what, status, value, index, len(data) if what & 0x80 else length)
            self._send(_CONTROL_PACKET, number, header + data)

    def _said(self, what: int, request: int, value: int, length: int) -> bytes | None:
        if (what, request) != _GET_DESCRIPTOR:
            return b"" if not what & 0x80 else None
        kind, at = value >> 8, value & 0xFF
        if kind == 1:
            return self._device[:length]
        if kind == 2 and at < len(self._configurations):
            return self._configurations[at][:length]
        if kind == 3 and at == 0:
            return b"\x04\x03\x09\x04"[:length]
        if kind == 3 and at <= len(self._strings):
            text = self._strings[at - 1].encode("utf-16-le")
            return (bytes((2 + len(text), 3)) + text)[:length]
        return None

    def _send(self, kind: int, number: int, body: bytes) -> None:
        self._socket.sendall(_HEADER.pack(kind, len(body), number) + body)

    def _receive(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = self._socket.recv(length - len(data))
            if not part:
                return b""
            data += part
        return data
