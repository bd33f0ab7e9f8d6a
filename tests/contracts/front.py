"""One address before several nodes, as a load balancer is: each connection goes to the next one that takes it."""

import contextlib
import socket
import threading


class Front:
    def __init__(self, ports: list[int]) -> None:
        self._ports = list(ports)
        self._preferred: int | None = None
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def prefer(self, port: int) -> None:
        """Send whoever comes from now on to this node while it lives."""
        self._preferred = port

    def prefer_none(self) -> None:
        self._preferred = None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            node = self._node()
            if node is None:
                client.close()
                continue
            threading.Thread(target=_join, args=(client, node), daemon=True).start()

    def _node(self) -> socket.socket | None:
        self._ports = [*self._ports[1:], self._ports[0]]
        for port in self._ports if self._preferred is None else [self._preferred, *self._ports]:
            with contextlib.suppress(OSError):
                return socket.create_connection(("127.0.0.1", port), timeout=2)
        return None


def _join(client: socket.socket, node: socket.socket) -> None:
    with client, node:
        answers = threading.Thread(target=_pass_on, args=(node, client), daemon=True)
        answers.start()
        _pass_on(client, node)
        answers.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        source.settimeout(None)
        while piece := source.recv(65_536):
            target.sendall(piece)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
