"""An OpenID Connect provider on loopback that holds who asks to PKCE, and that can be told to lie."""

import base64
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey


@cache
def _key() -> RSAKey:
    """Return the key of every honest provider: making one takes as long as most tests do."""
    return RSAKey.generate_key(2048, {"kid": "1", "use": "sig", "alg": "RS256"})


class IdentityProvider:
    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now, self._codes = now, dict[str, dict[str, str]]()
        self.key = self.published = _key()
        self.claims: dict[str, Any] = {}  # over those of an honest token
        self.answers: dict[str, bytes] = {}  # instead of the honest ones, by path
        self.issuer = ""

    def sign_in(self, url: str, subject: str) -> tuple[str, str]:
        """Have somebody sign in where a browser was sent, and return the state and code that it comes back with."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self._codes[code] = {**asked, "sub": subject}
        return asked["state"], code

    def answer(self, path: str, form: dict[str, str]) -> tuple[int, bytes]:
        if path in self.answers:
            return 200, self.answers[path]
        if path == "/.well-known/openid-configuration":
            endpoints = {f"{name}_endpoint": f"{self.issuer}/{name}" for name in ("authorization", "token")}
            found = {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys", **endpoints}
            return 200, json.dumps(found).encode()
        if path == "/keys":
            return 200, json.dumps(KeySet([self.published]).as_dict(private=False)).encode()
        return self._token(form)

    def _token(self, form: dict[str, str]) -> tuple[int, bytes]:
        asked = self._codes.pop(form.get("code", ""), None)
        shown = base64.urlsafe_b64encode(sha256(form.get("code_verifier", "").encode()).digest()).decode().rstrip("=")
        if asked is None or asked["code_challenge"] != shown or asked["redirect_uri"] != form["redirect_uri"]:
            return 400, b'{"error": "invalid_grant"}'
        now = int(self._now().timestamp())
        claims = {
            "iss": self.issuer, "sub": asked["sub"], "aud": asked["client_id"], "nonce": asked["nonce"], "iat": now,
            "exp": now + 300, **self.claims,
        }  # fmt: skip
        token = jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.key)
        return 200, json.dumps({"id_token": token, "access_token": "x", "token_type": "Bearer"}).encode()


@contextmanager
def providing(now: Callable[[], datetime]) -> Iterator[IdentityProvider]:
    provider = IdentityProvider(now)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer({name: values[0] for name, values in parse_qs(body).items()})

        def _answer(self, form: dict[str, str]) -> None:
            status, body = provider.answer(self.path, form)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider.issuer = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()
