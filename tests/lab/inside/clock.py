"""Tell the guest's kernel that something keeps its clock, as chrony would: the lab set it, and nothing there does."""

import ctypes

ADJ_MAXERROR, ADJ_ESTERROR, ADJ_STATUS = 0x0004, 0x0008, 0x0010


class Timex(ctypes.Structure):
    """struct timex of adjtimex(2), as far as it is written here."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


if ctypes.CDLL(None).adjtimex(ctypes.byref(Timex(modes=ADJ_MAXERROR | ADJ_ESTERROR | ADJ_STATUS))) < 0:
    raise SystemExit("the kernel does not take it")
