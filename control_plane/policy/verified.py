"""The policy that the centre itself acts on: held against its signatures, down to the first root, each time it changes.

What lies in the database is not believed: an archive's address from there is where images would go. Like a host, the
centre goes on under a policy that has expired: images are delivered where people last said, and status names the role.
"""

from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from threading import Lock

from sqlalchemy.orm import Session, sessionmaker
from tuf.api.metadata import Targets

from control_plane.db.transactions import snapshot
from control_plane.keys.store import POLICY_TRUST, KeyStore
from control_plane.policy import sql
from control_plane.policy.publisher import Moment, PolicyPublisher, PolicyRowMissing, RootReplaced
from control_plane.policy.roles import begins_with, parse_role
from control_plane.policy.root_change import WHENEVER
from control_plane.policy.together import LayerDocument
from control_plane.policy.verify import SignaturesMissing, read_stable, verify_layer, verify_roots, verify_targets
from shared.policy.accept import WrongLayer
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION, Modality, PolicyDocument
from shared.policy.part import PartDocument

_KEPT = 64


class VerifiedPolicy:
    def __init__(self, database: sessionmaker[Session], keys: KeyStore, publisher: PolicyPublisher) -> None:
        self._database, self._keys, self._publisher = database, keys, publisher
        self._lock = Lock()
        self._verified: dict[tuple[bytes, bytes], LayerDocument] = {}

    def newest(self) -> PolicyDocument | None:
        """Return the newest policy that every host has been given, None before the first publication.

        While one is rolled out, or after it was taken back, that is the one before it.

        Raises DatabaseUnavailable, RootReplaced, PolicyRowMissing, Malformed, SignaturesMissing, LayerNotDelegated,
        MetadataMismatch and the like: what does not hold is not acted on.
        """
        moment = self._publisher.moment()
        layer = None if moment is None else moment.layer(ORGANISATION)
        return None if moment is None or layer is None else _organisation(self._everywhere(moment, layer))

    def rolled_out(self) -> PolicyDocument | None:
        """Return the newest policy, which some hosts may have alone so far. Raises what `newest` does."""
        moment = self._publisher.moment()
        layer = None if moment is None else moment.layer(ORGANISATION)
        return None if moment is None or layer is None else _organisation(self._document(moment.head, layer, ()))

    def everywhere(self) -> PolicyDocument | None:
        """Return the organisation's policy with the modalities of every part and of every exception for a host.

        While a part is rolled out, some of its hosts take images from who sends by the one version, some by the other.
        For what the centre does for all sites alike: no host has this policy, and an AE title may be in it more than
        once, for modalities at different places. Raises what `newest` does.
        """
        organisation, moment = self.newest(), self._publisher.moment()
        if organisation is None or moment is None:
            return None
        modalities: dict[Modality, None] = dict.fromkeys(organisation.modalities)
        for layer in moment.layers:
            documents = [self._everywhere(moment, layer)]
            if not moment.is_taken_back(layer.layer):
                documents.append(self._document(moment.head, layer, ()))
            for part in (each for each in documents if isinstance(each, PartDocument)):
                for content in (part.content, *(exception for _, exception in part.hosts)):
                    modalities.update(dict.fromkeys(content.modalities))
        return replace(organisation, modalities=tuple(modalities))

    def parts(self) -> dict[str, PartDocument]:
        """Return what every host has of each site and type of modality, by layer, as `newest` does."""
        moment = self._publisher.moment()
        documents = [] if moment is None else [self._everywhere(moment, layer) for layer in moment.layers]
        return {document.layer: document for document in documents if isinstance(document, PartDocument)}

    def acted_by(self) -> dict[str, tuple[LayerDocument, ...]]:
        """Return the policies by which hosts act, by layer, as `Moment.acted_by` does. Raises what `newest` does."""
        moment = self._publisher.moment()
        if moment is None:
            return {}
        for layer in moment.layers:
            self._document(moment.head, layer, ())
        return moment.acted_by()

    def version(self, version: int) -> PolicyDocument:
        """Return an earlier version, under the signatures of those who signed then. Raises what `newest` does."""
        return _organisation(self.version_of(ORGANISATION, version))

    def version_of(self, layer: str, version: int) -> LayerDocument:
        """Return a version of any layer, as `version` does."""
        head = self._publisher.head()
        with snapshot(self._database) as session:
            row = sql.row(session, layer, version)
            delegations = sql.delegations(session)
        if head is None or row is None or row.policy is None:
            raise PolicyRowMissing(layer, version)
        bundle = LayerBundle(layer, row.metadata_bytes, row.policy, row.stable or b"")
        document = self._document(head, bundle, delegations)
        if document.version != version:
            raise PolicyRowMissing(layer, version)
        return document

    def _everywhere(self, moment: Moment, layer: LayerBundle) -> LayerDocument:
        newest = self._document(moment.head, layer, ())
        return newest if moment.is_everywhere(layer.layer) else read_stable(layer)

    def _document(self, head: HeadBundle, layer: LayerBundle, delegations: tuple[bytes, ...]) -> LayerDocument:
        # By all the bytes that the answer depends on, so a changed row is looked at again.
        named = (
            _digest(*head.roots, b"", head.targets, *delegations),
            _digest(layer.metadata, b"", layer.policy, layer.stable),
        )
        with self._lock:
            if named not in self._verified:
                document = self._verify(head, layer, delegations)
                while len(self._verified) >= _KEPT:
                    del self._verified[next(iter(self._verified))]
                self._verified[named] = document
            return self._verified[named]

    def _verify(self, head: HeadBundle, layer: LayerBundle, delegations: tuple[bytes, ...]) -> LayerDocument:
        if not head.roots or sha256(head.roots[0]).digest() != self._keys.secret(POLICY_TRUST):
            raise RootReplaced
        targets = verify_targets(verify_roots(head.roots, WHENEVER), head.targets, WHENEVER)
        wanted = parse_role(Targets, layer.metadata).signed.version
        # From the newest back, each one proved before its word on where it begins is taken: who signs no longer has
        # written nothing since.
        for data in delegations:
            if begins_with(targets, layer.layer) <= wanted:
                break
            if parse_role(Targets, data).signed.version == targets.version - 1:
                targets = _earlier_targets(head.roots, data)
        return verify_layer(targets, layer)


def _earlier_targets(roots: tuple[bytes, ...], data: bytes) -> Targets:
    """Return delegations that were in force once, under whichever root they were signed."""
    for last in range(len(roots), 1, -1):
        with suppress(SignaturesMissing):
            return verify_targets(verify_roots(roots[:last], WHENEVER), data, WHENEVER)
    return verify_targets(verify_roots(roots[:1], WHENEVER), data, WHENEVER)


def _organisation(document: LayerDocument) -> PolicyDocument:
    if not isinstance(document, PolicyDocument):
        raise WrongLayer(offered=document.layer, expected=ORGANISATION)
    return document


def _digest(*parts: bytes) -> bytes:
    return sha256(b"".join(sha256(part).digest() for part in parts)).digest()
