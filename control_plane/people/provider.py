"""Asks an OpenID Connect provider: discovery, authorization code with PKCE (RFC 7636), and the proof of its ID token.

What it answers is capped, and nothing of it is believed before the signature, issuer, audience, nonce and time hold.
"""

import base64
import json
import ssl
from datetime import datetime
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from control_plane.people.provider_settings import Identity, ProviderRefused, ProviderSettings, texts, verify_url
from shared.errors import Unavailable

_TIMEOUT_S = 10.0
_MAX_ANSWER_BYTES = 256 * 1024
_LEEWAY_S = 60
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "Ed25519", "EdDSA"]
_MAX_SUBJECT_CHARS = 255  # OpenID Connect Core section 2


class ProviderUnavailable(Unavailable):
    def __init__(self, issuer: str, why: str) -> None:
        super().__init__(f"no answer from the identity provider {issuer}: {why}")
        self.issuer = issuer


class Provider:
    def __init__(self, settings: ProviderSettings) -> None:
        """Raises ProviderRefused: its authority's certificate cannot be read."""
        self._settings = settings
        try:
            context = ssl.create_default_context(cadata=settings.ca or None)
        except (ssl.SSLError, ValueError) as exc:
            raise ProviderRefused("the certificate of its authority cannot be read as PEM") from exc
        timeout = urllib3.Timeout(total=_TIMEOUT_S)
        self._http = urllib3.PoolManager(ssl_context=context, timeout=timeout, retries=False)

    def authorization_url(self, *, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:
        """Return where a browser goes to sign in. Raises ProviderUnavailable, ProviderRefused."""
        endpoint = self._endpoint(self._discovered(), "authorization_endpoint")
        challenge = base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")
        asked = {
            "response_type": "code", "client_id": self._settings.client_id, "redirect_uri": redirect_uri,
            "scope": "openid", "state": state, "nonce": nonce, "code_challenge": challenge,
            "code_challenge_method": "S256",
        }  # fmt: skip
        if self._settings.acr:
            asked["acr_values"] = " ".join(self._settings.acr)
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    def identify(self, *, code: str, redirect_uri: str, nonce: str, verifier: str, now: datetime) -> Identity:
        """Return whom the provider saw. Raises ProviderUnavailable, ProviderRefused."""
        found = self._discovered()
        sent = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": verifier,
        }  # fmt: skip
        if not self._settings.secret:
            sent["client_id"] = self._settings.client_id
        answer = self._asked("POST", self._endpoint(found, "token_endpoint"), urlencode(sent))
        keys = self._asked("GET", self._endpoint(found, "jwks_uri"))
        return self._proved(answer.get("id_token"), keys, nonce, now)

    def _proved(self, token: object, keys: dict[str, Any], nonce: str, now: datetime) -> Identity:
        if not isinstance(token, str):
            raise ProviderRefused("its answer has no ID token")
        rules = jwt.JWTClaimsRegistry(
            now=int(now.timestamp()),
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": self._settings.issuer},
            aud={"essential": True, "value": self._settings.client_id},
            nonce={"essential": True, "value": nonce},
            exp={"essential": True},
            iat={"essential": True},
        )
        try:
            claims = jwt.decode(token, KeySet.import_key_set(keys), algorithms=_ALGORITHMS).claims  # type: ignore[arg-type]
            rules.validate(claims)
        except (JoseError, ValueError, KeyError, TypeError) as exc:
            raise ProviderRefused("its ID token does not hold") from exc
        audience, subject = claims["aud"], claims.get("sub")
        if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != self._settings.client_id:
            raise ProviderRefused("its ID token is for others too")
        if not isinstance(subject, str) or not 1 <= len(subject) <= _MAX_SUBJECT_CHARS:
            raise ProviderRefused("its ID token names nobody")
        acr = claims.get("acr")
        return Identity(
            self._settings.issuer, subject, tuple(texts(claims.get("amr"))), acr if isinstance(acr, str) else ""
        )

    def _discovered(self) -> dict[str, Any]:
        found = self._asked("GET", self._settings.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != self._settings.issuer:
            raise ProviderRefused("it says that it is another issuer")
        return found

    def _endpoint(self, found: dict[str, Any], name: str) -> str:
        url = found.get(name)
        if not isinstance(url, str):
            raise ProviderRefused(f"it names no {name}")
        verify_url(url, f"its {name}")
        return url

    def _asked(self, method: str, url: str, form: str | None = None) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            if self._settings.secret:
                pair = f"{quote(self._settings.client_id, '')}:{quote(self._settings.secret, '')}"
                headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        try:
            response = self._http.request(
                method, url, body=form, headers=headers, redirect=False, preload_content=False
            )
            try:
                data = response.read(_MAX_ANSWER_BYTES + 1)
            finally:
                response.close()
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise ProviderUnavailable(self._settings.issuer, type(exc).__name__) from exc
        if response.status != 200 or len(data) > _MAX_ANSWER_BYTES:
            raise ProviderRefused(f"it answered with status {response.status}, or too much")
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError) as exc:
            raise ProviderRefused("its answer is not JSON") from exc
        if not isinstance(answer, dict):
            raise ProviderRefused("its answer is no JSON object")
        return answer
