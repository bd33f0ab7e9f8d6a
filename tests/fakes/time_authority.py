"""A time authority (RFC 3161) made of openssl, answering over real HTTP on loopback."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

_CONFIG = """\
[req]
distinguished_name = name
x509_extensions = stamping
prompt = no
[name]
CN = Time Authority of nobody
[stamping]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
[tsa]
default_tsa = it
[it]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256,sha512
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


class TimeAuthority:
    """`answer` stands in for the next answers where it is set: a status and a body."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, ""
        self.answer: tuple[int, bytes] | None = None
        self.asked: list[bytes] = []
        (folder / "serial").write_text("01\n")
        self.config = folder / "tsa.conf"
        self.config.write_text(_CONFIG.format(folder=folder))
        made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30"
        self._openssl(*made.split(), "-config", self.config, "-keyout", folder / "tsa.key", "-out", folder / "tsa.pem")

    @property
    def certificate(self) -> Path:
        return self.folder / "tsa.pem"

    def stamp(self, query: bytes) -> bytes:
        (self.folder / "query").write_bytes(query)
        self._openssl("ts", "-reply", "-config", self.config, "-queryfile", self.folder / "query",
                      "-out", self.folder / "reply")  # fmt: skip
        return (self.folder / "reply").read_bytes()

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@contextmanager
def time_authority(folder: Path) -> Iterator[TimeAuthority]:
    authority = TimeAuthority(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            authority.asked.append(query)
            status, body = authority.answer or (200, authority.stamp(query))
            self.send_response(status)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    authority.url = f"http://127.0.0.1:{server.server_port}/"
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield authority
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
