"""What the people's door takes and answers about people, their proofs, tokens and sessions."""

from typing import Literal

from pydantic import BaseModel, Field

from control_plane.http.people_models import Strict
from control_plane.people.name import PERSON_PATTERN
from control_plane.people.tokens import DEFAULT_DAYS, MOST_DAYS

Role = Literal["administrator", "field-engineer", "technician", "auditor"]
_NAME_OF_THING = r"^[^\x00-\x1f\x7f]+$"
_ID = r"^[0-9a-f]{16}$"
_MAX_TYPED = 1024


class PersonRequest(Strict):
    """Who gets an account, and what they may do."""

    name: str = Field(max_length=64, pattern=f"^{PERSON_PATTERN}$")
    role: Role


class NamedPerson(Strict):
    name: str = Field(max_length=80)


class RoleRequest(NamedPerson):
    role: Role


class PromotionRequest(NamedPerson):
    """Who is to be an administrator, and why; the reason is told to whoever approves it."""

    reason: str = Field(min_length=3, max_length=300)


class TokenOfPerson(BaseModel):
    """A token for somebody's credential, shown this once."""

    name: str
    token: str


class PersonRemoved(BaseModel):
    """Whose account ended."""

    removed: str


class FactorShown(BaseModel):
    factor: str
    kind: Literal["totp", "webauthn"]
    name: str
    added: str


class PersonShown(BaseModel):
    """Who somebody is, and what they can prove it with."""

    name: str
    role: str
    created: str
    removed: str | None
    password: bool
    second_factors: list[FactorShown]
    recovery_codes_left: int


class PeopleAnswer(BaseModel):
    people: list[PersonShown]


class PasswordRequest(Strict):
    """A new password; `current` is empty for the first."""

    current: str = Field(default="", max_length=_MAX_TYPED)
    new: str = Field(max_length=_MAX_TYPED)


class PasswordProof(Strict):
    password: str = Field(max_length=_MAX_TYPED)


class TotpRequest(PasswordProof):
    name: str = Field(min_length=1, max_length=64, pattern=_NAME_OF_THING)


class TotpAnswer(BaseModel):
    """What an app on a phone reads, shown this once. It counts once a code of it was confirmed."""

    factor: str
    uri: str


class TotpConfirmation(Strict):
    factor: str = Field(pattern=_ID)
    code: str = Field(max_length=64)


class FactorRemoval(PasswordProof):
    factor: str = Field(pattern=_ID)


class RecoveryCodesAnswer(BaseModel):
    """Recovery codes, shown this once; none where there are some already."""

    recovery_codes: list[str]


class Done(BaseModel):
    done: str


class SignInRequest(Strict):
    """All that somebody can show who has no token that is good."""

    name: str = Field(max_length=80)
    password: str = Field(max_length=_MAX_TYPED)
    code: str = Field(max_length=64)


class CertificateRequest(SignInRequest):
    """`csr` is a PKCS #10 request in PEM for an ECDSA P-256 key; what it says of a name is not read."""

    csr: str = Field(max_length=4096)


class CertificateAnswer(BaseModel):
    """A person's certificate, and behind it the issuing CA's; `session` ends it."""

    certificate: str
    session: str
    expires: str


class TokenRequest(Strict):
    """`scope` is a list of permissions; without one the token is for all that its person may do."""

    name: str = Field(min_length=1, max_length=64, pattern=_NAME_OF_THING)
    scope: list[str] | None = Field(default=None, max_length=64)
    days: int = Field(default=DEFAULT_DAYS, ge=1, le=MOST_DAYS)


class TokenAnswer(BaseModel):
    """A new token, shown this once."""

    id: str
    token: str
    expires: str


class RenewedToken(TokenAnswer):
    """A new token, and the id of the one `before` it, which is to be ended once this one is kept."""

    before: str


class TokenEnd(Strict):
    token: str = Field(pattern=_ID)


class TokenShown(BaseModel):
    token: str
    person: str
    name: str
    scope: list[str] | None
    created: str
    expires: str


class TokensAnswer(BaseModel):
    tokens: list[TokenShown]


class SessionShown(BaseModel):
    session: str
    person: str
    how: str
    began: str
    used: str
    expires: str


class SessionsAnswer(BaseModel):
    sessions: list[SessionShown]


class SessionEnd(Strict):
    """Which session ends; without one, all of whoever asks."""

    session: str | None = Field(default=None, pattern=_ID)


class LinkAnswer(BaseModel):
    """A sign-in link that works once, within 15 minutes."""

    link: str


class ProviderRequest(Strict):
    """An OpenID Connect provider; `amr` and `acr` values of which one says that it saw a second factor."""

    issuer: str = Field(min_length=8, max_length=1000)
    client_id: str = Field(min_length=1, max_length=255)
    secret: str = Field(default="", max_length=1024)
    ca: str = Field(default="", max_length=32_768)
    amr: list[str] = Field(default=[], max_length=32)
    acr: list[str] = Field(default=[], max_length=32)


class BindingRequest(Strict):
    """Whom the identity provider calls by `subject` is this person."""

    name: str = Field(max_length=80)
    subject: str = Field(min_length=1, max_length=255, pattern=_NAME_OF_THING)


class Binding(BaseModel):
    person: str
    issuer: str
    subject: str


class ProviderAnswer(BaseModel):
    """By whom people may sign in; null: by nobody."""

    issuer: str | None
    client_id: str | None
    amr: list[str]
    acr: list[str]
    bound: list[Binding]
