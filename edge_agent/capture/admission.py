"""Decides who may send. What the policy does not list is refused.

A certificate, an AE title and an address are bound to one another by policy: a modality for which it lists addresses
may send from those only, and one for which it lists certificates only over TLS and with one of them.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from edge_agent.capture.attempts import Reason
from shared.policy.document import Modality, PolicyDocument


@dataclass(frozen=True)
class Admission:
    """`refused` is None for who may send, and `reason` says it in words.

    `bound`: the sender showed more than a name, namely an address or a certificate that policy lists for it.
    """

    refused: Reason | None
    reason: str
    bound: bool = False


def evaluate(
    policy: PolicyDocument | None, calling_ae_title: str, address: str, certificate_sha256: str | None
) -> Admission:
    """Return whether a modality may open an association.

    `address` is the IP address it comes from; `certificate_sha256` the lower-case hex digest of the DER of the client
    certificate it showed, which chains to the policy's trust; None: it came without TLS.
    """
    if policy is None:
        return Admission(Reason.NO_POLICY, "no policy is in force")
    modality = policy.modality(calling_ae_title)
    if modality is None:
        return Admission(Reason.NOT_LISTED, f"calling AE title is not listed in policy {policy.version}")
    if modality.addresses and not lists_address(modality, address):
        return Admission(
            Reason.WRONG_ADDRESS, f"address is not one that policy {policy.version} lists for this AE title"
        )
    if modality.certificates:
        if certificate_sha256 is None:
            return Admission(
                Reason.NO_CERTIFICATE,
                f"policy {policy.version} binds this AE title to certificates, and it came without TLS",
            )
        if certificate_sha256 not in modality.certificates:
            return Admission(
                Reason.WRONG_CERTIFICATE, f"certificate is not one that policy {policy.version} lists for this AE title"
            )
    return Admission(None, f"listed in policy {policy.version}", bool(modality.addresses or modality.certificates))


def lists_address(modality: Modality, address: str) -> bool:
    sender = plain_address(address)
    return any(sender in ip_network(listed) for listed in modality.addresses)


def knows_address(policy: PolicyDocument | None, address: str) -> bool:
    """Return whether some modality is expected at `address`."""
    return policy is not None and any(lists_address(modality, address) for modality in policy.modalities)


def plain_address(address: str) -> IPv4Address | IPv6Address:
    """Return an address as policy writes it: IPv4 also where a socket of IPv6 took the connection."""
    parsed = ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed
