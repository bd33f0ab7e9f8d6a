"""Inside the guest: does what the lab asks over a virtio port, one JSON object a line.

    run {argv, stdin, timeout_s} -> code, out, err     spawn {argv} -> pid, then {pid, line} ..., {pid, code}
    read {path} -> text or error                       write {path, text}
    glob {pattern} -> paths                            wait {path, equals | there, timeout_s} -> met, text
    put {path, data, mode, append}                     get {path, offset, most} -> data
    signal {pid, number}                               ping -> uptime_s
    talk {path, data} -> data                          one frame to a Unix socket, one back (docs/formats/guard-link.md)

`read`, `write` and `wait` are here because a process costs 50 ms in an emulated machine, and a file of sysfs 3 ms.
"""

import base64
import json
import os
import signal
import socket
import subprocess
import threading
import time
from glob import glob
from pathlib import Path
from typing import Any

PORT_NAME = "leadglass.lab"
POLL_S = 0.01
RESTED = 4  # times as long as a look took: it takes the processor from what is waited for
TALK_S = 20.0
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",
}

Message = dict[str, Any]


def matches(pattern: str) -> list[str]:
    return sorted(glob(pattern))  # noqa: PTH207  Path.glob takes twenty times as long for a plain path


def text_of(path: str) -> str | None:
    try:
        return Path(path).read_text(errors="replace").rstrip("\n")
    except OSError:
        return None


class Agent:
    def __init__(self, port: int) -> None:
        self._port = port
        self._lock = threading.Lock()
        self._spawned: dict[int, subprocess.Popen[bytes]] = {}

    def serve(self) -> None:
        kept = b""
        self.send({"ready": time.monotonic()})
        while True:
            came = os.read(self._port, 1 << 16)
            if not came:  # nobody has the other end open
                time.sleep(POLL_S)
                continue
            *lines, kept = (kept + came).split(b"\n")
            for line in lines:
                threading.Thread(target=self._answer, args=(json.loads(line),), daemon=True).start()

    def send(self, message: Message) -> None:
        data = json.dumps(message).encode() + b"\n"
        with self._lock:
            while data:
                data = data[os.write(self._port, data) :]

    def _answer(self, request: Message) -> None:
        number, ask = request.pop("id"), request.pop("ask")
        try:
            answer: Message = getattr(self, "do_" + ask)(**request)
        except (OSError, ValueError, TypeError, AttributeError) as exc:
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        self.send({"id": number, **answer})
        if ask == "spawn" and "pid" in answer:
            self._relay(self._spawned[answer["pid"]])

    def do_ping(self) -> Message:
        return {"uptime_s": time.clock_gettime(time.CLOCK_BOOTTIME), "monotonic_s": time.monotonic()}

    def do_run(self, argv: list[str], stdin: str, timeout_s: float) -> Message:
        began = time.monotonic()
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT,
            start_new_session=True,
        )  # fmt: skip
        try:
            out, err = process.communicate(stdin.encode(), timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
        return {
            "code": process.returncode,
            "out": out.decode(errors="replace"),
            "err": err.decode(errors="replace"),
            "took_s": time.monotonic() - began,
        }

    def do_spawn(self, argv: list[str]) -> Message:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT,
            start_new_session=True,
        )  # fmt: skip
        self._spawned[process.pid] = process
        return {"pid": process.pid}

    def _relay(self, process: "subprocess.Popen[bytes]") -> None:
        for line in process.stdout or ():
            self.send({"pid": process.pid, "line": line.decode(errors="replace").rstrip("\n")})
        self.send({"pid": process.pid, "code": process.wait()})

    def do_talk(self, path: str, data: str) -> Message:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TALK_S)
            connection.connect(path)
            connection.sendall(base64.b64decode(data))
            answer = b""
            while len(answer) < 4 or len(answer) < 4 + int.from_bytes(answer[:4], "big"):
                came = connection.recv(1 << 16)
                if not came:
                    raise OSError("it hung up")
                answer += came
        return {"data": base64.b64encode(answer[4:]).decode()}

    def do_signal(self, pid: int, number: int) -> Message:
        os.killpg(pid, number)
        return {}

    def do_read(self, path: str) -> Message:
        return {"text": Path(path).read_text(errors="replace").rstrip("\n")}

    def do_write(self, path: str, text: str) -> Message:
        Path(path).write_text(text)
        return {}

    def do_glob(self, pattern: str) -> Message:
        return {"paths": matches(pattern)}

    def do_wait(self, path: str, equals: str | None, there: bool, timeout_s: float) -> Message:
        """Wait until the file says `equals`; without it, until something matches the pattern, or nothing does."""
        deadline = time.monotonic() + timeout_s
        while True:
            began = time.monotonic()
            met = bool(matches(path)) is there if equals is None else text_of(path) == equals
            now = time.monotonic()
            if met or now > deadline:
                return {"met": met, "text": text_of(path), "monotonic_s": now}
            time.sleep(max(POLL_S, RESTED * (now - began)))

    def do_put(self, path: str, data: str, mode: int, append: bool) -> Message:
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab" if append else "wb") as opened:
            opened.write(base64.b64decode(data))
        file.chmod(mode)
        return {}

    def do_get(self, path: str, offset: int, most: int) -> Message:
        with Path(path).open("rb") as opened:
            opened.seek(offset)
            return {"data": base64.b64encode(opened.read(most)).decode()}


def open_port() -> int:
    while True:
        for name in matches("/sys/class/virtio-ports/*/name"):
            if text_of(name) == PORT_NAME:
                return os.open("/dev/" + Path(name).parent.name, os.O_RDWR)
        time.sleep(POLL_S)


if __name__ == "__main__":
    Agent(open_port()).serve()
