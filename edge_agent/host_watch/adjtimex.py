"""What the kernel says of its clock: adjtimex(2) with nothing to change, which everybody may ask."""

import ctypes
import os

from edge_agent.host_watch.observations import KernelClock

_TIME_ERROR, _STA_UNSYNC, _STA_NANO = 5, 0x0040, 0x2000
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Timex(ctypes.Structure):
    """struct timex of linux/timex.h. What is behind `status` is not looked at, and as large as it may be."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("frequency", ctypes.c_long),
        ("max_error", ctypes.c_long),
        ("estimated_error", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 512),
    )


def read_clock() -> tuple[KernelClock | None, str]:
    """Return what the kernel says, or why it says nothing."""
    timex = _Timex()
    state = _LIBC.adjtimex(ctypes.byref(timex))
    if state < 0:
        return None, f"adjtimex: {os.strerror(ctypes.get_errno())}"
    return clock(state, timex.status, timex.offset, timex.estimated_error, timex.max_error), ""


def clock(state: int, status: int, offset: int, estimated_error_us: int, max_error_us: int) -> KernelClock:
    offset_us = offset // 1000 if status & _STA_NANO else offset
    kept = state != _TIME_ERROR and not status & _STA_UNSYNC
    return KernelClock(kept, offset_us, estimated_error_us, max_error_us)
