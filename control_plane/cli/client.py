"""Speaks to the people's door on behalf of the person whose credential is given."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Protocol
from urllib.parse import urlencode

from shared.canonical import Json
from shared.errors import Malformed, Refused, Unavailable

_TIMEOUT_S = 120
_PIECE_BYTES = 1 << 20
_ADDRESS = re.compile(r"http://(?P<host>127\.0\.0\.1|localhost|\[::1\]):(?P<port>[0-9]{1,5})/?")
_LARGEST_PORT = 65_535


class DoorRefused(Refused):
    """The control plane's own answer, as it gave it."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(f"{title}: {detail}" if detail else title)
        self.status, self.title = status, title


class DoorUnavailable(Unavailable):
    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"no answer from the control plane at {url}: {why}; is `leadglass-server run` running?")
        self.url = url


class CutShort(Unavailable):
    """The answer ended early: the control plane stopped releasing what it could no longer prove."""

    def __init__(self) -> None:
        super().__init__("the control plane ended its answer early; nothing that was received may be used")


class AddressRefused(Refused):
    """Credentials go nowhere but to a door on this machine: it speaks plain HTTP."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"{url} is not a people's door: expected http://127.0.0.1:PORT (a centre elsewhere is reached through an "
            "SSH tunnel)"
        )
        self.url = url


class Proving(Protocol):
    """What shows who asks: the fields that it adds to a request."""

    def fields(self, method: str, authority: str, target: str, body: bytes, /) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Bearer:
    token: str

    def fields(self, *_: object) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class Nobody:
    """For what is asked by whoever has nothing to show yet."""

    def fields(self, *_: object) -> Mapping[str, str]:
        return {}


class PeopleDoor:
    def __init__(self, url: str, shown: str | Proving, *, is_patient: bool = False) -> None:
        """`shown` is a token, or what signs each request; who `is_patient` waits however long an answer takes.

        Raises AddressRefused.
        """
        found = _ADDRESS.fullmatch(url)
        if found is None or int(found["port"]) > _LARGEST_PORT:
            raise AddressRefused(url)
        self._url, self._shown = url, Bearer(shown) if isinstance(shown, str) else shown
        self._address = found["host"].strip("[]"), int(found["port"])
        self._authority = f"{found['host']}:{found['port']}"
        self._timeout_s = None if is_patient else _TIMEOUT_S

    def get(self, path: str, query: Mapping[str, str | int | None] | None = None) -> Json:
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        return self._json("GET", path + (f"?{urlencode(asked)}" if asked else ""), None)

    def post(self, path: str, body: Mapping[str, Json]) -> Json:
        return self._json("POST", path, body)

    def download(self, method: str, path: str, body: Mapping[str, Json] | None) -> tuple[str, Iterator[bytes]]:
        """Return the checks header and the body's pieces. Raises CutShort when the body does not come whole."""
        response = self._ask(method, path, body)
        return response.headers.get("Leadglass-Checks", "[]"), self._pieces(response)

    def _pieces(self, response: HTTPResponse) -> Iterator[bytes]:
        try:
            while piece := response.read(_PIECE_BYTES):
                yield piece
        except (HTTPException, OSError) as exc:
            raise CutShort from exc
        if response.length:
            raise CutShort

    def _json(self, method: str, path: str, body: Mapping[str, Json] | None) -> Json:
        try:
            data: Json = json.loads(self._ask(method, path, body).read() or b"null")
        except (HTTPException, OSError) as exc:
            raise CutShort from exc
        except ValueError as exc:
            raise DoorUnavailable(self._url, "its answer is not JSON") from exc
        return data

    def _ask(self, method: str, path: str, body: Mapping[str, Json] | None) -> HTTPResponse:
        connection = HTTPConnection(*self._address, timeout=self._timeout_s)
        sent = b"" if body is None else json.dumps(body).encode()
        # One question a connection, which ends with the answer.
        headers = {
            "Host": self._authority, "Content-Type": "application/json", "Connection": "close",
            **self._shown.fields(method, self._authority, path, sent),
        }  # fmt: skip
        try:
            connection.request(method, path, None if body is None else sent, headers)
            response = connection.getresponse()
        except (OSError, HTTPException) as exc:
            connection.close()
            raise DoorUnavailable(self._url, str(exc) or type(exc).__name__) from exc
        if response.status >= 400:
            raise _refusal(response)
        return response


def _refusal(response: HTTPResponse) -> Exception:
    try:
        problem = json.loads(response.read())
        title, detail = str(problem["title"]), str(problem["detail"])
    except (HTTPException, OSError, ValueError, KeyError, TypeError):
        title, detail = response.reason, ""
    if response.status == 400 or title == "Validation error":
        what, _, why = detail.partition(" is malformed: ")
        return Malformed(what, why) if why else Malformed("request", detail or title)
    if response.status == 401:
        return DoorRefused(401, title, f"{detail}; `leadglass-server person renew` gives a credential a new token")
    if response.status >= 500:
        return Unavailable(f"{title}: {detail}")
    return DoorRefused(response.status, title, detail)
