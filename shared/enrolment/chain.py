"""Chains of certificates: from one that was issued to a root that whoever judges it pins (RFC 5280 section 6).

    certificate <- issuing CA <- root
    certificate <- issuing CA <- old root, certified by the new one <- new root        (RFC 4210 section 4.4)

Judged are signatures, that each issuer is a certificate authority and may certify, how many there may be below it, the
names it may certify, and the organisation, which is the root's all the way down. Dates are judged at an instant that is
given, or not at all: certificates last days, evidence thirty years.  docs/formats/enrolment.md section 5
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import pairwise
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from shared.errors import Malformed, Refused

MAX_CERTIFICATES = 64
_MAX_BETWEEN = 8
_UNDERSTOOD = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.NameConstraints,
    x509.SubjectAlternativeName,
)
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)

Chain = tuple[x509.Certificate, ...]
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


class ChainBroken(Refused):
    """A certificate that leads to no root which is believed here, or not in a way that it may."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True)
class Trust:
    """Who is believed: `roots`. `between` are certificates of authorities that may lead there, and prove nothing."""

    roots: Chain
    between: Chain = ()

    def with_between(self, more: Sequence[x509.Certificate]) -> "Trust":
        return Trust(self.roots, (*self.between, *more))

    def pem(self) -> bytes:
        return pem_of((*self.roots, *self.between))


def parse_chain(pem: bytes, what: str, *, most: int = MAX_CERTIFICATES) -> Chain:
    """Return the certificates of `pem`, in order, each readable as far as it is looked at here. Raises Malformed."""
    if pem.count(b"-----BEGIN ") > most:
        raise Malformed(what, f"more than {most} certificates")
    try:
        found = x509.load_pem_x509_certificates(pem)
        for one in found:
            # Read only when they are asked for, which is too late to refuse them.
            _ = one.subject, one.issuer, one.extensions, one.public_key(), one.not_valid_before_utc
    except _UNREADABLE as exc:
        raise Malformed(what, "not a certificate in PEM") from exc
    return tuple(found)


def pem_of(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def verify_chain(
    leaf: x509.Certificate, trust: Trust, between: Sequence[x509.Certificate] = (), *, at: datetime | None = None
) -> Chain:
    """Return the certificates from `leaf` to a root of `trust`, both included. Raises ChainBroken.

    With `at`, `leaf` has to be valid then, and each authority when what it certified began: what was signed on a
    certificate's last day counts, though its issuer had retired by then. When a link between two roots was made says
    nothing.
    """
    try:
        if is_authority(leaf):
            raise ChainBroken("it is the certificate of an authority itself")
        return _verified(leaf, trust, between, at)
    except _UNREADABLE as exc:
        raise ChainBroken("it, or a certificate above it, cannot be read") from exc


def verify_authority(authority: x509.Certificate, trust: Trust) -> Chain:
    """Return what `verify_chain` does, of an authority that may certify others in its turn. Raises ChainBroken."""
    try:
        return _verified(authority, trust, (), None)
    except _UNREADABLE as exc:
        raise ChainBroken("it, or a certificate above it, cannot be read") from exc


def follow(pinned: x509.Certificate, offered: Sequence[x509.Certificate]) -> Chain:
    """Return the newest root that the key of `pinned` vouches for, and behind it the links that lead back to `pinned`.

    A link is a root's name and key, certified by the root before it. The dates of `pinned` are not judged: it may have
    run out while whoever pinned it was away. Only a later root is followed, so that nobody leads back to an older one.
    Returns nothing where no later one is offered. Raises ChainBroken: one is, and nothing that `pinned` signed says so.
    """
    try:
        return _followed(pinned, offered[:MAX_CERTIFICATES])
    except _UNREADABLE as exc:
        raise ChainBroken("what the centre says of its roots cannot be read") from exc


def is_valid_at(certificate: x509.Certificate, instant: datetime) -> bool:
    return certificate.not_valid_before_utc <= instant <= certificate.not_valid_after_utc


def is_authority(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def organisation(certificate: x509.Certificate) -> str | None:
    """Return the organisation that a subject begins with."""
    first = next(iter(certificate.subject.rdns), ())
    return next((str(one.value) for one in first if one.oid == NameOID.ORGANIZATION_NAME), None)


def permitted_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the DNS names and networks that an issuing CA may certify servers for, as people read them."""
    constraints = _extension(certificate, x509.NameConstraints)
    return tuple(str(one.value) for one in (constraints.permitted_subtrees if constraints else None) or ())


def permits(constraints: x509.NameConstraints, name: x509.GeneralName) -> bool:
    """Tell whether `constraints` let a certificate carry `name`."""
    kind = type(name)
    permitted = [one for one in constraints.permitted_subtrees or () if type(one) is kind]
    excluded = [one for one in constraints.excluded_subtrees or () if type(one) is kind]
    return (not permitted or any(_within(name, base) for base in permitted)) and not any(
        _within(name, base) for base in excluded
    )


def _verified(first: x509.Certificate, trust: Trust, between: Sequence[x509.Certificate], at: datetime | None) -> Chain:
    broken = ChainBroken("no authority that is known here leads from it to the root")
    pool = tuple(dict.fromkeys((*between, *trust.between)))[:MAX_CERTIFICATES]
    for path in _paths((first,), pool, trust.roots, set()):
        try:
            _judge(path, at)
        except ChainBroken as exc:
            broken = exc
        else:
            return path
    raise broken


def _followed(pinned: x509.Certificate, offered: Sequence[x509.Certificate]) -> Chain:
    later = [one for one in offered if _is_root(one) and one.not_valid_before_utc > pinned.not_valid_before_utc]
    proved = [pinned]
    while (after := _next(proved[-1], later, offered)) is not None:
        proved.append(after)
    if len(proved) == 1:
        if later:
            raise ChainBroken("the centre shows a new root, and nothing signed by the root pinned here vouches for it")
        return ()
    links = (
        one for one in offered
        if one not in proved and one.subject == one.issuer and any(_issued(one, root) for root in proved)
    )  # fmt: skip
    return (proved[-1], *links)


def _next(
    present: x509.Certificate, roots: Sequence[x509.Certificate], offered: Sequence[x509.Certificate]
) -> x509.Certificate | None:
    """Return a later root that `present` certified.

    As a root, with its name: `present` certifies issuing CAs too, whose keys are online and must become no roots.
    """
    for root in roots:
        if root.not_valid_before_utc <= present.not_valid_before_utc or root.subject != present.subject:
            continue
        if any(_is_link(one, root) and _issued(one, present) for one in offered):
            return root
    return None


def _is_link(one: x509.Certificate, root: x509.Certificate) -> bool:
    return is_authority(one) and one.subject == root.subject and one.public_key() == root.public_key()


def _is_root(one: x509.Certificate) -> bool:
    return is_authority(one) and _issued(one, one)


def _paths(path: Chain, pool: Chain, roots: Chain, seen: set[x509.Certificate]) -> Iterator[Chain]:
    """Yield ways from the last of `path` up to a root. Each authority is tried once, whatever somebody put together."""
    for root in roots:
        if _issued(path[-1], root):
            yield (*path, root)
    if len(path) > _MAX_BETWEEN:
        return
    for one in pool:
        if one not in seen and _issued(path[-1], one):
            seen.add(one)
            yield from _paths((*path, one), pool, roots, seen)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _judge(path: Chain, at: datetime | None) -> None:
    leaf, *authorities = path
    below = int(is_authority(leaf) and not _is_self_issued(leaf))
    for number, authority in enumerate(authorities):
        _judge_authority(authority, below, path[: number + 1])
        below += not _is_self_issued(authority)
    root = organisation(path[-1])
    for one in path:
        if unknown := [e.oid.dotted_string for e in one.extensions if e.critical and not _is_understood(e.value)]:
            raise ChainBroken(f"{_called(one)} demands what is not known here: {', '.join(unknown)}")
        if root is not None and organisation(one) != root:
            raise ChainBroken(f"{_called(one)} is of another organisation than its root")
    if at is not None:
        _judge_dates(path, leaf, at)


def _judge_authority(authority: x509.Certificate, below: int, issued: Chain) -> None:
    constraints = _extension(authority, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise ChainBroken(f"{_called(authority)} is not a certificate authority")
    if constraints.path_length is not None and below > constraints.path_length:
        raise ChainBroken(f"{_called(authority)} may not certify other authorities so far down")
    usage = _extension(authority, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise ChainBroken(f"the key of {_called(authority)} may not certify")
    names = _extension(authority, x509.NameConstraints)
    if names is None:
        return
    if not _is_understood(names):
        raise ChainBroken(f"{_called(authority)} limits names of a kind that is not known here")
    for one in issued:
        if one is not issued[0] and _is_self_issued(one):
            continue
        refused = [str(name.value) for name in _names(one) if not permits(names, name)]
        if refused:
            raise ChainBroken(f"{_called(authority)} may not certify {', '.join(refused)}")


def _judge_dates(path: Chain, leaf: x509.Certificate, at: datetime) -> None:
    if not is_valid_at(leaf, at):
        raise ChainBroken("it was not valid then")
    for issued, issuer in pairwise(path):
        if not _is_self_issued(issued) and not is_valid_at(issuer, issued.not_valid_before_utc):
            raise ChainBroken(f"{_called(issuer)} was not valid when it certified {_called(issued)}")


def _names(certificate: x509.Certificate) -> list[x509.GeneralName]:
    alternative = _extension(certificate, x509.SubjectAlternativeName)
    return [x509.DirectoryName(certificate.subject), *(alternative or ())]


def _within(name: x509.GeneralName, base: x509.GeneralName) -> bool:
    match name, base:
        case x509.DNSName(), x509.DNSName():
            at, below = name.value.lower().removesuffix("."), base.value.lower().strip(".")
            return below in ("", at) or at.endswith(f".{below}")
        case x509.IPAddress(), x509.IPAddress():
            network = base.value
            return (
                isinstance(network, IPv4Network | IPv6Network)
                and isinstance(name.value, IPv4Address | IPv6Address)
                and name.value in network
            )
        case x509.DirectoryName(), x509.DirectoryName():
            return name.value.rdns[: len(base.value.rdns)] == base.value.rdns
    return False


def _is_understood(extension: x509.ExtensionType) -> bool:
    if isinstance(extension, x509.NameConstraints):
        known = (x509.DNSName, x509.IPAddress, x509.DirectoryName)
        bases = (*(extension.permitted_subtrees or ()), *(extension.excluded_subtrees or ()))
        return all(isinstance(base, known) for base in bases)
    return isinstance(extension, _UNDERSTOOD)


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _is_self_issued(certificate: x509.Certificate) -> bool:
    return certificate.subject == certificate.issuer


def _called(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return repr(str(names[0].value)) if names else "a certificate without a name"
