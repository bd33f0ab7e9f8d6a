"""Chains: what leads to the root that is pinned, what does not, and how a later root is believed."""

from datetime import datetime, timedelta
from ipaddress import ip_address
from ssl import DER_cert_to_PEM_cert

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from control_plane.enrolment import profiles
from shared.enrolment.chain import (
    MAX_CERTIFICATES,
    ChainBroken,
    Trust,
    follow,
    parse_chain,
    pem_of,
    permits,
    verify_authority,
    verify_chain,
)
from shared.errors import Malformed
from tests.fakes.authority import DAY, NOW, TestIssuing, TestRoot

ROOT = TestRoot.new()
ISSUING = ROOT.issuing()
LEAF = ISSUING.leaf()
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.32473.1"), b"\x05\x00")


def test_a_certificate_leads_over_its_issuing_authority_to_the_root() -> None:
    assert verify_chain(LEAF, ROOT.trust, [ISSUING.certificate]) == (LEAF, ISSUING.certificate, ROOT.root)
    assert verify_chain(LEAF, Trust((ROOT.root,), (ISSUING.certificate,))) == (LEAF, ISSUING.certificate, ROOT.root)


@pytest.mark.parametrize(
    "trust, between",
    [
        (TestRoot.new().trust, (ISSUING.certificate,)),
        (TestRoot.new().trust, (ISSUING.certificate, ROOT.root)),
        (ROOT.trust, ()),
        (ROOT.trust, (ROOT.issuing().certificate,)),
        (Trust(()), (ISSUING.certificate, ROOT.root)),
    ],
    ids=["another root", "its own root brought along", "nothing between", "another issuing", "nobody is trusted"],
)
def test_what_does_not_lead_to_the_pinned_root_is_refused(trust: Trust, between: tuple[x509.Certificate, ...]) -> None:
    with pytest.raises(ChainBroken, match="no authority that is known here"):
        verify_chain(LEAF, trust, between)


def test_a_stolen_issuing_key_makes_no_further_authority() -> None:
    below = ISSUING.authority()

    with pytest.raises(ChainBroken, match="may not certify other authorities so far down"):
        verify_chain(below.leaf(), ROOT.trust, [below.certificate, ISSUING.certificate])
    with pytest.raises(ChainBroken, match="so far down"):
        verify_authority(below.certificate, Trust((ROOT.root,), (ISSUING.certificate,)))


def test_a_host_s_certificate_certifies_nobody() -> None:
    key_holder = TestIssuing(ISSUING.leaf(key=ISSUING.key.public_key()), ISSUING.key)

    with pytest.raises(ChainBroken, match="not a certificate authority"):
        verify_chain(key_holder.leaf(), ROOT.trust, [key_holder.certificate, ISSUING.certificate])


def test_an_authority_s_own_certificate_is_nobody_s() -> None:
    with pytest.raises(ChainBroken, match="of an authority itself"):
        verify_chain(ISSUING.certificate, ROOT.trust)


def addresses(*names: str) -> list[x509.GeneralName]:
    return [x509.IPAddress(ip_address(name)) for name in names]


@pytest.mark.parametrize(
    "names",
    [
        [x509.DNSName("pacs.example")],
        [x509.DNSName("centre.example"), x509.DNSName("pacs.example")],
        [x509.DNSName("acentre.example")],
        [x509.DNSName("centre.example.org")],
        addresses("192.0.2.7"),
        addresses("::2"),
    ],
)
def test_a_stolen_issuing_key_makes_no_server_of_another_name(names: list[x509.GeneralName]) -> None:
    with pytest.raises(ChainBroken, match="may not certify"):
        verify_chain(ISSUING.leaf(unit="server", names=names), ROOT.trust, [ISSUING.certificate])


@pytest.mark.parametrize(
    "base, name",
    [
        ("", "pacs.example"),
        ("pacs.example", "pacs.example."),
        (".pacs.example", "a.PACS.example."),
        ("a.example.", "a.example"),
    ],
)
def test_a_name_that_is_excluded_is_so_however_it_is_written(base: str, name: str) -> None:
    """RFC 5280 section 4.2.1.10: an empty DNS name stands for all of them; RFC 1034: a dot at the end says nothing."""
    excluded = x509.NameConstraints(None, [x509.DNSName(base)])

    assert not permits(excluded, x509.DNSName(name))
    assert permits(excluded, x509.DNSName("pacs.example.org")) is (base != "")


def test_without_name_constraints_a_thief_would_make_a_server_of_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: with the names not judged, the attack above goes through."""
    monkeypatch.setattr("shared.enrolment.chain.permits", lambda *_: True)

    verify_chain(ISSUING.leaf(unit="server", names=[x509.DNSName("pacs.example")]), ROOT.trust, [ISSUING.certificate])


@pytest.mark.parametrize(
    "names",
    [
        [x509.DNSName("centre.example"), x509.DNSName("localhost"), *addresses("127.0.0.1", "::1")],
        [x509.DNSName("CENTRE.example")],
        [x509.DNSName("a.centre.example")],
    ],
)
def test_the_centre_s_own_names_are_permitted(names: list[x509.GeneralName]) -> None:
    verify_chain(ISSUING.leaf(unit="server", names=names), ROOT.trust, [ISSUING.certificate])


@pytest.mark.parametrize(
    "subject",
    [
        [(NameOID.ORGANIZATION_NAME, "Leadglass other"), (NameOID.COMMON_NAME, "x")],
        [(NameOID.COMMON_NAME, "x"), (NameOID.ORGANIZATION_NAME, "Leadglass test")],
        [(NameOID.COMMON_NAME, "x")],
        [],
    ],
)
def test_a_stolen_issuing_key_makes_no_host_of_another_centre(subject: list[tuple[x509.ObjectIdentifier, str]]) -> None:
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])

    with pytest.raises(ChainBroken, match="of another organisation"):
        verify_chain(ISSUING.leaf(subject=name, names=[x509.DNSName("localhost")]), ROOT.trust, [ISSUING.certificate])


def test_what_demands_something_unknown_is_refused() -> None:
    verify_chain(ISSUING.leaf(more=[(UNKNOWN, False)]), ROOT.trust, [ISSUING.certificate])
    with pytest.raises(ChainBroken, match=r"not known here: 1\.3\.6\.1\.4\.1\.32473\.1"):
        verify_chain(ISSUING.leaf(more=[(UNKNOWN, True)]), ROOT.trust, [ISSUING.certificate])


def test_an_authority_that_limits_names_of_an_unknown_kind_certifies_nothing_here() -> None:
    limits = x509.NameConstraints(None, [x509.RFC822Name("example")])
    strange = ROOT.issuing(limits=limits)

    with pytest.raises(ChainBroken, match="limits names of a kind"):
        verify_chain(strange.leaf(), ROOT.trust, [strange.certificate])


def test_dates_are_judged_at_an_instant_or_not_at_all() -> None:
    past = ISSUING.leaf(since=NOW - 5 * DAY, until=NOW - 4 * DAY)

    verify_chain(past, ROOT.trust, [ISSUING.certificate])
    verify_chain(past, ROOT.trust, [ISSUING.certificate], at=NOW - 4.5 * DAY)
    for at in (NOW, NOW - 6 * DAY):
        with pytest.raises(ChainBroken, match="not valid then"):
            verify_chain(past, ROOT.trust, [ISSUING.certificate], at=at)


def test_evidence_of_a_certificate_counts_after_its_issuer_retired_and_not_if_it_was_made_after_that() -> None:
    end = ISSUING.certificate.not_valid_after_utc
    made_before = ISSUING.leaf(since=end - DAY, until=end + 300 * DAY)
    made_after = ISSUING.leaf(since=end + DAY, until=end + 300 * DAY)

    verify_chain(made_before, ROOT.trust, [ISSUING.certificate], at=end + 200 * DAY)
    with pytest.raises(ChainBroken, match="was not valid when it certified"):
        verify_chain(made_after, ROOT.trust, [ISSUING.certificate], at=end + 200 * DAY)


def test_any_number_of_authorities_that_certify_one_another_ends_in_a_refusal_soon() -> None:
    crowd = [ISSUING.authority() for _ in range(2 * MAX_CERTIFICATES)]

    with pytest.raises(ChainBroken):
        verify_chain(crowd[0].leaf(), TestRoot.new().trust, [one.certificate for one in crowd])


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@given(data=st.data())
def test_no_changed_byte_of_a_chain_goes_unseen(data: st.DataObject) -> None:
    which = data.draw(st.integers(0, 1))
    chain = [LEAF, ISSUING.certificate]
    der = bytearray(chain[which].public_bytes(Encoding.DER))
    der[data.draw(st.integers(0, len(der) - 1))] ^= data.draw(st.integers(1, 255))

    with pytest.raises((ChainBroken, Malformed)):
        judge([bytes(der) if at == which else one.public_bytes(Encoding.DER) for at, one in enumerate(chain)])


def judge(chain: list[bytes]) -> None:
    leaf, *between = parse_chain("".join(map(DER_cert_to_PEM_cert, chain)).encode(), "chain")
    verify_chain(leaf, ROOT.trust, between)


@pytest.mark.parametrize("pem", [b"", b"x", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_malformed(pem: bytes) -> None:
    with pytest.raises(Malformed):
        parse_chain(pem, "chain")


def test_more_certificates_than_anybody_needs_are_malformed() -> None:
    with pytest.raises(Malformed, match="more than 2"):
        parse_chain(pem_of([LEAF] * 3), "chain", most=2)


# ---- a root after the root


SECOND = ROOT.next()
THIRD = SECOND.next(NOW + 100 * DAY)
NEW_WITH_OLD, OLD_WITH_NEW = SECOND.links


def shown(root: TestRoot, *earlier: TestRoot) -> tuple[x509.Certificate, ...]:
    return (root.root, *(one.root for one in earlier), *root.links)


def test_the_pinned_key_leads_to_the_next_root_and_to_the_one_after_it() -> None:
    assert follow(ROOT.root, shown(SECOND, ROOT))[0] == SECOND.root
    assert follow(ROOT.root, shown(THIRD, SECOND, ROOT))[0] == THIRD.root
    assert follow(SECOND.root, shown(THIRD, SECOND, ROOT))[0] == THIRD.root


def test_a_root_that_is_the_newest_leads_nowhere() -> None:
    assert follow(SECOND.root, shown(SECOND, ROOT)) == ()
    assert follow(ROOT.root, [ROOT.root]) == ()
    assert follow(ROOT.root, []) == ()


def test_what_was_certified_before_and_after_is_believed_under_either_root() -> None:
    issuing = SECOND.issuing(NOW)
    newest, *links = follow(ROOT.root, shown(SECOND, ROOT))

    for leaf, between in ((LEAF, ISSUING.certificate), (issuing.leaf(since=NOW), issuing.certificate)):
        verify_chain(leaf, Trust((newest,), tuple(links)), [between], at=NOW)
        verify_chain(leaf, ROOT.trust, [between, *SECOND.links], at=NOW)


def test_a_link_that_the_pinned_root_did_not_sign_is_refused() -> None:
    impostor = TestRoot.new().next()

    with pytest.raises(ChainBroken, match="nothing signed by the root pinned here"):
        follow(ROOT.root, shown(impostor))
    with pytest.raises(ChainBroken, match="nothing signed by the root pinned here"):
        follow(ROOT.root, [SECOND.root, OLD_WITH_NEW])


def test_without_that_signature_the_impostor_would_be_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: with the signature not judged, the attack above goes through."""
    impostor = TestRoot.new().next()
    monkeypatch.setattr("shared.enrolment.chain._issued", lambda *_: True)

    assert follow(ROOT.root, shown(impostor))[0] == impostor.root


def test_a_stolen_issuing_key_makes_no_root() -> None:
    """The pinned root signed for the thief's key, but as an issuing CA: that is no word for a root."""
    thief = ISSUING.key
    made = profiles.make_root(thief, "Leadglass test", NOW)

    assert made.subject == ROOT.root.subject
    with pytest.raises(ChainBroken, match="nothing signed by the root pinned here"):
        follow(ROOT.root, [made, ISSUING.certificate])
    with pytest.raises(ChainBroken, match="nothing signed by the root pinned here"):
        follow(ROOT.root, [made, ISSUING.certificate, profiles.make_link(ROOT.root, made, thief)])


def test_if_any_word_of_the_root_were_a_link_a_stolen_issuing_key_would_make_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The negative control: with the certificate that names the key not judged, the attack above goes through."""
    monkeypatch.setattr("shared.enrolment.chain._is_link", lambda one, root: one.public_key() == root.public_key())
    made = profiles.make_root(ISSUING.key, "Leadglass test", NOW)

    assert follow(ROOT.root, [made, ISSUING.certificate])[0] == made


def test_nobody_leads_back_to_an_earlier_root() -> None:
    """OldWithNew is signed by the key that is pinned now, and names a root whose key may be stolen by now."""
    assert follow(SECOND.root, [ROOT.root, OLD_WITH_NEW, NEW_WITH_OLD]) == ()


def test_a_root_of_the_same_date_or_another_centre_is_not_followed() -> None:
    other = TestRoot.new(centre="Leadglass other").next()

    assert follow(ROOT.root, [ROOT.root, ROOT.root]) == ()
    with pytest.raises(ChainBroken):
        follow(ROOT.root, shown(other))


@pytest.mark.parametrize("away", [timedelta(days=1), timedelta(days=366 * 40)])
def test_a_pinned_root_that_ran_out_is_followed_all_the_same(away: timedelta) -> None:
    old = TestRoot.new(at=datetime(1990, 1, 1, tzinfo=NOW.tzinfo))

    assert old.root.not_valid_after_utc < NOW
    assert follow(old.root, shown(old.next(NOW + away)))[0].not_valid_before_utc > NOW
