"""What the authority issues, by OpenSSL's word as well as by ours."""

import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy.orm import Session, sessionmaker

from control_plane.enrolment import authority
from control_plane.enrolment.authority import EVIDENCE_LIFE, HOST_LIFE, Authority, IssuingEnded, Kind
from control_plane.enrolment.expiry import authority_gaps
from control_plane.enrolment.profiles import ISSUING_LIFE, ROOT_LIFE
from control_plane.keys import store
from control_plane.keys.root import RootKey
from control_plane.keys.store import KeyStore
from shared.clock import SystemClock
from shared.enrolment.chain import ChainBroken, organisation, parse_chain, pem_of, verify_chain
from shared.identity import CONTROL_PLANE
from tests.control_plane.begun import database_at
from tests.fakes.authority import DAY, TestIssuing, TestRoot, new_key
from tests.fakes.clock import FakeClock

HOSTS = ["centre.example", "192.0.2.7", "[2001:db8::7]"]
OpenSsl = Callable[..., str]


@pytest.fixture
def database(tmp_path: Path) -> sessionmaker[Session]:
    return database_at(tmp_path / "centre.sqlite")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(SystemClock().now())


@pytest.fixture
def ca(database: sessionmaker[Session], clock: FakeClock) -> Authority:
    keys = KeyStore(database, RootKey(bytes(32)), clock)
    return authority.establish(database, keys, clock, new_key(), HOSTS)


@pytest.fixture
def openssl(tmp_path: Path) -> OpenSsl:
    """Verify a certificate strictly, with what it is shown with, under a root; return what OpenSSL says."""
    program = shutil.which("openssl")
    assert program is not None, "openssl is not installed"

    def verify(leaf: x509.Certificate, between: bytes, roots: bytes, *more: str) -> str:
        for name, content in (("leaf", pem_of([leaf])), ("between", between), ("roots", roots)):
            (tmp_path / name).write_bytes(content)
        untrusted = ("-untrusted", tmp_path / "between") if between else ()
        command = [program, "verify", "-x509_strict", "-no-CApath", "-no-CAstore", "-CAfile", tmp_path / "roots"]
        command += [*untrusted, *more, tmp_path / "leaf"]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=120)
        return "OK" if done.returncode == 0 else done.stderr

    return verify


def issue(
    ca: Authority, database: sessionmaker[Session], kind: Kind, names: tuple[str, ...] = ()
) -> tuple[x509.Certificate, bytes]:
    """Return a certificate, and what is shown behind it."""
    with database.begin() as session:
        pem = ca.issue(session, kind, CONTROL_PLANE, new_key().public_key(), names)
    leaf, *between = parse_chain(pem.encode(), "chain")
    return leaf, pem_of(between)


@pytest.mark.parametrize(
    "kind, purpose",
    [
        (Kind.HOST, "sslclient"),
        (Kind.SERVICE, "sslclient"),
        (Kind.SERVER, "sslserver"),
        (Kind.EVIDENCE, "any"),
    ],
)
def test_openssl_finds_every_kind_of_certificate_good_and_for_its_purpose_alone(
    ca: Authority, database: sessionmaker[Session], openssl: OpenSsl, kind: Kind, purpose: str
) -> None:
    leaf, between = issue(ca, database, kind, tuple(HOSTS) if kind is Kind.SERVER else ())

    assert openssl(leaf, between, ca.pem, "-purpose", purpose) == "OK"
    for other in {"sslclient", "sslserver"} - {purpose}:
        assert "unsuitable certificate purpose" in openssl(leaf, between, ca.pem, "-purpose", other)
    assert "unable to get local issuer" in openssl(leaf, b"", ca.pem)
    verify_chain(leaf, ca.trust, at=ca.clock.now())


def test_the_profiles_are_those_of_the_page(ca: Authority) -> None:
    def basic(certificate: x509.Certificate) -> tuple[bool, int | None]:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert constraints.critical
        return constraints.value.ca, constraints.value.path_length

    root, issuing = ca.root, ca.issuing.certificate
    names = issuing.extensions.get_extension_for_class(x509.NameConstraints)

    assert (basic(root), basic(issuing)) == ((True, 1), (True, 0))
    assert root.not_valid_after_utc - root.not_valid_before_utc == ROOT_LIFE
    assert issuing.not_valid_after_utc - ca.clock.now().replace(microsecond=0) == ISSUING_LIFE
    assert organisation(root) == organisation(issuing)
    assert names.critical
    assert [str(one.value) for one in names.value.permitted_subtrees or ()] == [
        "centre.example", "192.0.2.7/32", "2001:db8::7/128", "localhost", "127.0.0.0/8", "::1/128",
    ]  # fmt: skip
    assert not names.value.excluded_subtrees


@pytest.mark.parametrize("name", ["pacs.example", "example", "192.0.2.8", "::2"])
def test_a_server_of_another_name_is_refused_by_openssl_and_by_us(
    ca: Authority, database: sessionmaker[Session], openssl: OpenSsl, name: str
) -> None:
    """As by whoever took the issuing key: what issues here asks nobody which names it may."""
    leaf, between = issue(ca, database, Kind.SERVER, (name,))

    assert "permitted subtree violation" in openssl(leaf, between, ca.pem)
    with pytest.raises(ChainBroken, match="may not certify"):
        verify_chain(leaf, ca.trust)


def test_a_further_authority_is_refused_by_openssl_too(ca: Authority, openssl: OpenSsl) -> None:
    thief = TestIssuing(ca.issuing.certificate, ca.issuing.key).authority()
    leaf = thief.leaf(since=ca.clock.now() - DAY, until=ca.clock.now() + DAY)

    assert "path length constraint exceeded" in openssl(
        leaf,
        pem_of([thief.certificate, ca.issuing.certificate]),
        ca.pem,
        "-attime",
        str(int(ca.clock.now().timestamp())),
    )


def test_openssl_goes_over_a_link_between_two_roots_either_way(openssl: OpenSsl) -> None:
    now = SystemClock().now()
    old = TestRoot.new(now - 30 * DAY)
    new = old.next(now)
    before, after = old.issuing(now - 10 * DAY), new.issuing(now)
    since, until = now, now + DAY
    links = pem_of(new.links)

    for issuing in (before, after):
        leaf = issuing.leaf(unit="server", names=[x509.DNSName("centre.example")], since=since, until=until)
        for root in (old, new):
            assert openssl(leaf, pem_of([issuing.certificate]) + links, pem_of([root.root])) == "OK"
    unlinked = after.leaf(since=since, until=until)
    assert openssl(unlinked, pem_of([after.certificate]), pem_of([old.root])) != "OK"


def test_what_speaks_tls_ends_with_its_issuer_and_evidence_does_not(
    ca: Authority, database: sessionmaker[Session], clock: FakeClock
) -> None:
    end = ca.issuing.certificate.not_valid_after_utc
    clock.advance(ISSUING_LIFE - timedelta(days=1))
    host, _ = issue(ca, database, Kind.HOST)
    evidence, _ = issue(ca, database, Kind.EVIDENCE)

    assert host.not_valid_after_utc == end < clock.now() + HOST_LIFE
    assert evidence.not_valid_after_utc == (clock.now() + EVIDENCE_LIFE).replace(microsecond=0)
    verify_chain(evidence, ca.trust, at=end + timedelta(days=100))


def test_an_issuing_certificate_that_ended_issues_nothing_and_says_what_to_do(
    ca: Authority, database: sessionmaker[Session], clock: FakeClock
) -> None:
    clock.advance(ISSUING_LIFE)

    with pytest.raises(IssuingEnded, match="authority request"):
        issue(ca, database, Kind.HOST)


def test_a_centre_whose_issuing_certificate_ended_starts_with_what_it_has(
    ca: Authority, database: sessionmaker[Session], clock: FakeClock
) -> None:
    keys = KeyStore(database, RootKey(bytes(32)), clock)
    for name in (store.SERVER_TLS, store.BROKER_TLS, store.SERVICE_TLS, store.RECEIPTS, store.JOURNAL):
        keys.create_p256(name)
    authority.issue_own(database, ca, ca, keys, "centre.example")
    before = authority.newest_certificate(database, keys.p256(store.SERVER_TLS))
    clock.advance(ISSUING_LIFE)
    authority.issue_own(database, ca, ca, keys, "centre.example")

    assert authority.newest_certificate(database, keys.p256(store.SERVER_TLS)) == before


def test_every_issuing_authority_has_a_list_of_its_own_of_what_it_revoked(
    ca: Authority, database: sessionmaker[Session], openssl: OpenSsl
) -> None:
    leaf, between = issue(ca, database, Kind.HOST)
    good, _ = issue(ca, database, Kind.HOST)
    lists = ca.revocation_lists([leaf], ca.clock.now().replace(microsecond=0) - timedelta(minutes=1))

    assert "certificate revoked" in openssl(leaf, between, ca.pem + lists, "-crl_check")
    assert openssl(good, between, ca.pem + lists, "-crl_check") == "OK"


def test_status_warns_from_two_thirds_of_an_issuing_certificate_and_before_the_root_ends(
    ca: Authority, clock: FakeClock
) -> None:
    def warned(days: float) -> list[str]:
        return list(authority_gaps(ca, clock.now() + timedelta(days=days)))

    assert [len(warned(days)) for days in (0, 486, 487, 731, 7304 - 730, 7306)] == [0, 0, 1, 1, 1, 2]
    assert "authority request" in warned(487)[0]
    assert "ended at" in warned(731)[0]
    assert "rotate-root" in warned(7306)[1]


def test_nothing_of_the_root_s_key_is_kept_here(
    database: sessionmaker[Session], clock: FakeClock, tmp_path: Path
) -> None:
    key = new_key()
    authority.establish(database, KeyStore(database, RootKey(bytes(32)), clock), clock, key, HOSTS)

    secret = key.private_numbers().private_value.to_bytes(32)
    assert not any(secret in path.read_bytes() for path in tmp_path.iterdir())
