"""Which OpenID Connect provider people may sign in by, and what of its word is enough for a second factor."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from shared.errors import Refused

FACT = "identity-provider"
"""Under which name the settings lie in the database, as a JSON object with `issuer`, `amr`, `acr` and more."""
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_MAX_URL_CHARS = 1000


class ProviderRefused(Refused):
    def __init__(self, why: str) -> None:
        super().__init__(f"identity provider: {why}")
        self.why = why


@dataclass(frozen=True)
class ProviderSettings:
    """`amr` and `acr`: values (RFC 8176, the provider's own) of which one says that it saw a second factor."""

    issuer: str
    client_id: str
    secret: str = ""  # empty: a public client
    ca: str = ""  # who certified the provider, PEM; empty: whom this machine trusts
    amr: tuple[str, ...] = ()
    acr: tuple[str, ...] = ()


@dataclass(frozen=True)
class Identity:
    """Whom a provider says it has seen, and how."""

    issuer: str
    subject: str
    amr: tuple[str, ...]
    acr: str


def verify_url(url: str, what: str) -> None:
    """Raises ProviderRefused: no HTTPS, but for a provider on this machine."""
    parts = urlsplit(url)
    plain = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if len(url) > _MAX_URL_CHARS or not re.fullmatch(r"[!-~]+", url) or not parts.hostname:
        raise ProviderRefused(f"{what} is no URL")
    if not plain and parts.scheme != "https":
        raise ProviderRefused(f"{what} has to begin with https://")


def saw_second_factor(settings: ProviderSettings, identity: Identity) -> bool:
    """Return whether the provider's word is enough. Where nothing was configured it never is."""
    return bool(set(settings.amr) & set(identity.amr)) or (bool(identity.acr) and identity.acr in settings.acr)


def texts(value: object) -> Sequence[str]:
    """Return the texts of a claim that should be a list of them."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
