"""Serves one door with cheroot, in threads of this process."""

import ssl
from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any, cast

from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server

WsgiApp = Callable[..., Iterable[bytes]]


class ContextAdapter(BuiltinSSLAdapter):
    """cheroot's TLS adapter around a context that is made already, so that no key file is needed."""

    def __init__(self, context: ssl.SSLContext) -> None:
        # The parent's constructor does nothing but build a context from files.
        self.certificate = self.private_key = self.certificate_chain = self.ciphers = ""
        self.private_key_password = None
        self._server_env: dict[str, str] = {}
        self.context = context


class Door:
    """One listening door. `port` is the real one once it is open, also when 0 was asked for."""

    def __init__(
        self, name: str, app: WsgiApp, host: str, port: int, context: ssl.SSLContext | None, *, threads: int = 8
    ) -> None:
        self.name = name
        self._server = Server((host, port), app, numthreads=threads, timeout=60, request_queue_size=64)
        self._server.server_name = "leadglass"
        if context is not None:
            self._server.ssl_adapter = ContextAdapter(context)
        self._thread = Thread(target=self._server.serve, name=f"door-{name}", daemon=True)
        self._server.prepare()
        bound = cast("tuple[Any, ...]", self._server.bind_addr)
        self.host, self.port = str(bound[0]), int(bound[1])

    def open(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._server.stop()
        self._thread.join(timeout=10)
