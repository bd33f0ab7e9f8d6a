"""Signing in by an identity provider, and by none that lies."""

import base64
import hmac
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc.jwk import RSAKey
from sqlalchemy import select

from control_plane.db.models import Fact
from control_plane.people.accounts import NewSession
from control_plane.people.attempts import NotProved, Wrong
from control_plane.people.people import PersonUnknown
from control_plane.people.provider import ProviderUnavailable
from control_plane.people.provider_settings import ProviderRefused, ProviderSettings
from control_plane.people.provider_sign_in import BoundAlready, NoProvider, ProviderSignIn
from control_plane.people.security_keys import SecurityKeys
from control_plane.people.signing_in import Shown, Step
from shared.audit.events import Event
from tests.control_plane.people.bench import HERE, ORIGIN, Bench
from tests.fakes.identity_provider import IdentityProvider, providing

BACK = f"{ORIGIN}/sign-in/callback"
MINE = "248289761001"


class Ward:
    """A centre with a provider, at which ada is known as `MINE`."""

    def __init__(self, bench: Bench, provider: IdentityProvider) -> None:
        self.bench, self.provider = bench, provider
        self.signing_in = ProviderSignIn(
            bench.database, bench.journal, bench.keys, SecurityKeys(lambda: ORIGIN), bench.clock
        )
        self.settings = ProviderSettings(provider.issuer, "leadglass", "a secret of the client", amr=("mfa",))
        self.signing_in.set(self.settings, by="ada")
        _, self.phone, _ = bench.with_phone("ada")
        self.signing_in.bind("ada", MINE, by="bob")

    def sign_in(self, subject: str = MINE) -> NewSession | Step:
        state, code = self.provider.sign_in(self.signing_in.begin(BACK).url, subject)
        return self.signing_in.finish(state, code, BACK)

    def refused(self, wrong: Wrong) -> None:
        with pytest.raises(NotProved) as refused:
            self.sign_in()
        assert refused.value.wrong is wrong


@pytest.fixture
def ward(bench: Bench) -> Iterator[Ward]:
    with providing(bench.clock.now) as provider:
        yield Ward(bench, provider)


def test_a_provider_that_saw_a_second_factor_signs_in_whom_it_is_bound_to(ward: Ward) -> None:
    ward.provider.claims = {"amr": ["pwd", "mfa"]}
    begun = ward.sign_in()

    assert isinstance(begun, NewSession)
    assert ward.bench.accounts.by_session(begun.secret).name == "ada"
    assert ward.bench.records()[-1].event is Event.SIGNED_IN


@pytest.mark.parametrize("claims", [{}, {"amr": ["pwd"]}, {"amr": "mfa"}, {"amr": [["mfa"]]}, {"acr": "mfa"}])
def test_where_it_saw_none_ours_is_asked_for(ward: Ward, claims: dict[str, Any]) -> None:
    ward.provider.claims = claims
    ward.bench.clock.advance(timedelta(seconds=30))
    step = ward.sign_in()

    assert isinstance(step, Step)
    with pytest.raises(NotProved):
        ward.bench.signing_in.finish(step.secret, Shown(code="000000"), HERE)
    again = ward.sign_in()
    assert isinstance(again, Step)
    begun = ward.bench.signing_in.finish(again.secret, Shown(code=ward.phone.code()), HERE)
    assert begun.person.name == "ada"


def test_an_acr_that_was_asked_for_is_enough(ward: Ward) -> None:
    ward.signing_in.set(replace(ward.settings, amr=(), acr=("phr",)), by="ada")
    ward.provider.claims = {"acr": "phr"}

    assert "acr_values=phr" in ward.signing_in.begin(BACK).url
    assert isinstance(ward.sign_in(), NewSession)


def test_nobody_is_let_in_for_an_e_mail_address_or_a_name(ward: Ward) -> None:
    ward.provider.claims = {"amr": ["mfa"], "email": "ada@hospital.example", "preferred_username": "ada"}

    for subject in ("ada", "ada@hospital.example", MINE + "0"):
        with pytest.raises(NotProved):
            ward.sign_in(subject)
    assert isinstance(ward.sign_in(), NewSession)  # control


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://another.example"}, {"aud": "another client"}, {"aud": ["leadglass", "another client"]},
        {"nonce": "of another sign-in"}, {"exp": 1}, {"iat": 1 << 40}, {"sub": ""}, {"sub": 7}, {"exp": None},
        {"nonce": None}, {"aud": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_token_that_is_not_for_this_sign_in_lets_nobody_in(ward: Ward, claims: dict[str, Any]) -> None:
    ward.provider.claims = {"amr": ["mfa"], **claims}
    ward.refused(Wrong.PROVIDER)
    ward.provider.claims = {"amr": ["mfa"]}

    assert isinstance(ward.sign_in(), NewSession)  # control


def test_a_token_that_another_key_signed_lets_nobody_in(ward: Ward) -> None:
    ward.provider.claims = {"amr": ["mfa"]}
    ward.provider.key = RSAKey.generate_key(2048, {"kid": "1"})

    ward.refused(Wrong.PROVIDER)


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_a_token_that_nobody_signed_lets_nobody_in(ward: Ward, algorithm: str) -> None:
    claims = {"iss": ward.provider.issuer, "sub": MINE, "aud": "leadglass", "iat": 1, "exp": 1 << 40, "amr": ["mfa"]}
    begun = ward.signing_in.begin(BACK)
    claims["nonce"] = parse_qs(urlsplit(begun.url).query)["nonce"][0]
    signed = ".".join(_text(json.dumps(part).encode()) for part in ({"alg": algorithm, "kid": "1"}, claims))
    # What everybody knows, the published key, taken for the secret of an HMAC.
    public = ward.provider.key.as_pem(private=False)
    signature = hmac.digest(public, signed.encode(), "sha256") if algorithm == "HS256" else b""
    ward.provider.answers["/token"] = json.dumps({"id_token": f"{signed}.{_text(signature)}"}).encode()

    with pytest.raises(NotProved) as refused:
        ward.signing_in.finish(begun.state, "any", BACK)
    assert refused.value.wrong is Wrong.PROVIDER


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize(
    "path, answer",
    [
        ("/token", b"not json"), ("/token", b"[]"), ("/token", b"{}"), ("/token", b'{"id_token": 7}'),
        ("/token", b"[" * 100_000), ("/token", b" " * 300_000), ("/keys", b"{}"), ("/keys", b'{"keys": [{}]}'),
        ("/keys", b'{"keys": 7}'), ("/.well-known/openid-configuration", b'{"issuer": "https://another.example"}'),
    ],
    ids=lambda given: str(given)[:40],
)  # fmt: skip
def test_an_answer_that_is_none_lets_nobody_in(ward: Ward, path: str, answer: bytes) -> None:
    url = ward.signing_in.begin(BACK).url
    state, code = ward.provider.sign_in(url, MINE)
    ward.provider.answers[path] = answer

    with pytest.raises(NotProved):
        ward.signing_in.finish(state, code, BACK)


def test_a_state_serves_once_and_five_minutes(ward: Ward) -> None:
    ward.provider.claims = {"amr": ["mfa"]}
    state, code = ward.provider.sign_in(ward.signing_in.begin(BACK).url, MINE)
    ward.signing_in.finish(state, code, BACK)
    late, late_code = ward.provider.sign_in(ward.signing_in.begin(BACK).url, MINE)
    ward.bench.clock.advance(timedelta(minutes=5))

    for one, other in ((state, code), (late, late_code), ("", code), ("invented", code)):
        with pytest.raises(NotProved):
            ward.signing_in.finish(one, other, BACK)


def test_the_step_of_a_provider_is_none_of_a_password(ward: Ward) -> None:
    begun = ward.signing_in.begin(BACK)

    with pytest.raises(NotProved):
        ward.bench.signing_in.finish(begun.state, Shown(code=ward.phone.code()), HERE)


def test_a_provider_that_is_down_or_has_no_tls_is_said_to_be(ward: Ward) -> None:
    down = replace(ward.settings, issuer="http://127.0.0.1:1")
    ward.signing_in.set(down, by="ada")
    with pytest.raises(ProviderUnavailable):
        ward.signing_in.begin(BACK)
    for wrong in ("http://provider.example", "ftp://127.0.0.1", "provider", "https://"):
        with pytest.raises(ProviderRefused):
            ward.signing_in.set(replace(ward.settings, issuer=wrong), by="ada")
    with pytest.raises(ProviderRefused):
        ward.signing_in.set(replace(ward.settings, ca="no PEM"), by="ada")


def test_a_subject_is_one_persons_and_a_removed_one_is_let_in_no_more(ward: Ward) -> None:
    ward.provider.claims = {"amr": ["mfa"]}
    with pytest.raises(BoundAlready):
        ward.signing_in.bind("ada", MINE, by="bob")
    with pytest.raises(PersonUnknown):
        ward.signing_in.bind("nobody", "7", by="bob")
    ward.bench.people.remove("ada", by="bob")

    ward.refused(Wrong.PERSON)


def test_the_clients_secret_is_in_no_table_in_clear_and_a_provider_can_be_removed(ward: Ward) -> None:
    assert ward.settings.secret.encode() not in ward.bench.stored()
    assert ward.signing_in.settings() == ward.settings
    assert ward.settings.secret not in json.dumps(ward.signing_in.shown())
    ward.signing_in.remove(by="ada")

    with ward.bench.database() as session:
        assert session.scalars(select(Fact.name)).all() == []
    with pytest.raises(NoProvider):
        ward.signing_in.begin(BACK)
