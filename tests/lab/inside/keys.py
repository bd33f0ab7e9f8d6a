"""Inside the guest: print every key press of every input device, the present and the coming ones, until ended.

`device <device>` once it is listened to, then `key <device> <code>`, as linux/input-event-codes.h numbers them.
"""

import os
import select
import struct
from pathlib import Path

EVENT = struct.Struct("llHHi")  # struct input_event
EV_KEY, PRESSED = 1, 1
LOOK_AGAIN_S = 0.1


def main() -> None:
    opened: dict[str, int] = {}
    print("listening", flush=True)
    while True:
        there = {path.name for path in Path("/dev/input").glob("event*")}
        for name in there - opened.keys():
            opened[name] = os.open(f"/dev/input/{name}", os.O_RDONLY | os.O_NONBLOCK)
            print(f"device {name}", flush=True)
        for name in [name for name, port in opened.items() if port in select.select(opened.values(), [], [], 0)[0]]:
            try:
                data = os.read(opened[name], EVENT.size * 64)
            except OSError:
                os.close(opened.pop(name))
                continue
            for _, _, kind, code, value in EVENT.iter_unpack(data):
                if (kind, value) == (EV_KEY, PRESSED):
                    print(f"key {name} {code}", flush=True)
        select.select(opened.values(), [], [], LOOK_AGAIN_S)


if __name__ == "__main__":
    main()
