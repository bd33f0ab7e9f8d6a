"""The control plane's own keys over snapshot and timestamp: the one that the root names now, and one to follow it."""

from cryptography.hazmat.primitives import serialization
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root

from control_plane.keys.store import KeyStore
from control_plane.policy.roles import TIMESTAMP, signer_of
from control_plane.policy.verify import WrongOnlineKey, online_key_id


class OnlineKeys:
    """Keys are added and never taken away: a root that names an old one may still be on its way to be signed."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    def ids(self) -> frozenset[str]:
        return frozenset(self._by_id())

    def signer(self, root: Root) -> CryptoSigner:
        """Return who signs under `root`. Raises WrongOnlineKey."""
        named = online_key_id(root)
        name = self._by_id().get(named)
        if name is None:
            raise WrongOnlineKey(TIMESTAMP, named)
        return signer_of(self._keys.p256(name))

    def unused(self, root: Root) -> bytes:
        """Return the public half, in DER, of the newest key, which is made now if `root` names the newest already."""
        newest = self._keys.online_keys()[-1]
        if signer_of(self._keys.p256(newest)).public_key.keyid == online_key_id(root):
            newest = self._keys.create_online_key()
        public = self._keys.p256(newest).public_key()
        return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    def _by_id(self) -> dict[str, str]:
        return {signer_of(self._keys.p256(name)).public_key.keyid: name for name in self._keys.online_keys()}
