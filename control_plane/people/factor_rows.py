"""Rows of second factors, recovery codes and steps of a sign-in, within the caller's commit."""

from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from control_plane.db.models import RecoveryCode, SecondFactor, SignInStep
from control_plane.keys.store import KeyStore
from control_plane.people import recovery, totp
from control_plane.people.secret_text import digest, new_secret

TOTP, WEBAUTHN, RECOVERY = "totp", "webauthn", "recovery-code"
SIGN_IN, REGISTER = "sign-in", "register"
STEP_LIFE = timedelta(minutes=5)
_MAX_STEPS = 1000


def seed_name(factor_id: str) -> str:
    """Return the name that a seed is sealed under, so that it opens for no other factor."""
    return f"totp/{factor_id}/1"


def accepts_totp(session: Session, keys: KeyStore, row: SecondFactor, code: str, now: datetime) -> bool:
    """Return whether `code` is a new one of this generator, and have it accepted never again."""
    if row.sealed_seed is None:
        return False
    seed = keys.unseal(seed_name(row.factor_id), row.sealed_seed)
    step = totp.accepted_step(seed, code, now, row.last_step)
    if step is None:
        return False
    # Another worker may have accepted it since the row was read.
    newer = update(SecondFactor).where(SecondFactor.factor_id == row.factor_id, SecondFactor.last_step < step)
    return session.scalar(newer.values(last_step=step).returning(SecondFactor.factor_id)) is not None


def accepts_recovery_code(session: Session, person: str, code: str, now: datetime) -> bool:
    """Return whether `code` is one of the person's that is unused, and have it used."""
    stored = recovery.digest_of(code)
    if stored is None:
        return False
    unused = update(RecoveryCode).where(
        RecoveryCode.code_sha256 == stored, RecoveryCode.person == person, RecoveryCode.used.is_(None)
    )
    return session.scalar(unused.values(used=now).returning(RecoveryCode.person)) is not None


def replace_recovery_codes(session: Session, person: str) -> tuple[str, ...]:
    codes = recovery.new_codes()
    session.execute(delete(RecoveryCode).where(RecoveryCode.person == person))
    session.add_all(RecoveryCode(code_sha256=recovery.digest_of(code), person=person) for code in codes)
    return codes


def confirmed(session: Session, person: str, kind: str) -> list[SecondFactor]:
    asked = select(SecondFactor).where(
        SecondFactor.person == person, SecondFactor.kind == kind, SecondFactor.confirmed.is_not(None)
    )
    return list(session.scalars(asked))


def insert_step(
    session: Session, person: str, purpose: str, challenge: bytes, now: datetime, *, password_right: bool
) -> str:
    """Return the secret of a step that can be taken once, within five minutes."""
    secret = new_secret()
    session.execute(delete(SignInStep).where(SignInStep.expires <= now))
    # Strangers may begin as many as they like; the oldest give way.
    newest = select(SignInStep.step_sha256).order_by(SignInStep.expires.desc()).limit(_MAX_STEPS)
    session.execute(delete(SignInStep).where(SignInStep.step_sha256.not_in(newest)))
    session.add(
        SignInStep(
            step_sha256=digest(secret), person=person, purpose=purpose, password_right=password_right,
            challenge=challenge, expires=now + STEP_LIFE,
        )
    )  # fmt: skip
    return secret


def take_step(session: Session, secret: str, purpose: str, now: datetime) -> SignInStep | None:
    taken = delete(SignInStep).where(
        SignInStep.step_sha256 == digest(secret), SignInStep.purpose == purpose, SignInStep.expires > now
    )
    return session.scalar(taken.returning(SignInStep))
