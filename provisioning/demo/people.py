"""Speaks to the people's door as the person whose credential was handed over, and keeps refusals as answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from shared.errors import Refused, Unavailable

_OK = 200


class NotAnswered(Refused):
    """The door answered a request that the demo relies on with something else than yes."""

    def __init__(self, asked: str, answer: "Answer") -> None:
        super().__init__(f"{asked} was answered with {answer.status} {answer.text[:500]}")
        self.answer = answer


class NoAnswer(Unavailable):
    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"no answer from the control plane at {url}: {why}")
        self.url, self.why = url, why


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def refusal(self) -> str:
        """The name of the error that refused the request; empty where it was not refused."""
        if self.status < 400 or "problem+json" not in self.headers.get("content-type", ""):
            return ""
        return str(self.json().get("error", ""))

    @property
    def detail(self) -> str:
        return str(self.json().get("detail", "")) if self.status >= 400 else ""


class PeopleDoor:
    def __init__(self, url: str, credential: Path) -> None:
        self.url = url
        held = json.loads(credential.read_text())
        self.person, self._token = str(held["person"]), str(held["token"])

    def ask(self, method: str, path: str, body: object = None, *, signed_in: bool = True) -> Answer:
        headers = {"Content-Type": "application/json"}
        if signed_in:
            headers["Authorization"] = f"Bearer {self._token}"
        return fetch(self.url, method, path, headers, None if body is None else json.dumps(body).encode())

    def get(self, path: str, **query: str | int) -> Any:
        asked = path + (f"?{urlencode(query)}" if query else "")
        return _accepted(f"GET {path}", self.ask("GET", asked)).json()

    def post(self, path: str, body: object) -> Any:
        return _accepted(f"POST {path}", self.ask("POST", path, body)).json()

    def open_object(self, object_id: str, reason: str) -> Answer:
        """Open one image as the dataset that the modality sent."""
        return self.ask("POST", f"/api/v1/objects/{object_id}/open", {"reason": reason, "as": "dataset"})

    def status(self) -> Any:
        return self.get("/api/v1/status")

    def host(self, host_id: str) -> Mapping[str, Any]:
        """Return what the status says of one host, nothing where it does not name it."""
        return next((host for host in self.status()["hosts"] if host["host"] == host_id), {})


def fetch(url: str, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
    """Return the answer to one request, whatever it is. Raises NoAnswer."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port or 80, timeout=60)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        # Of several with one name the first: of the cookies of a sign-in, its session.
        lowered = {name.lower(): value for name, value in reversed(response.getheaders())}
        return Answer(response.status, lowered, response.read())
    except (OSError, HTTPException) as exc:
        raise NoAnswer(url, str(exc) or type(exc).__name__) from exc
    finally:
        connection.close()


def _accepted(asked: str, answer: Answer) -> Answer:
    if answer.status != _OK:
        raise NotAnswered(asked, answer)
    return answer
