"""Several people who sign, each with their own key, and a host whose agent and guard judge what they publish."""

import json
import shutil
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.policy.authoring import Credential
from control_plane.policy.drafts import Draft, Signatory, sign
from control_plane.policy.exchange import Publication
from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.person_key import PersonKey, parse_spki
from control_plane.policy.proposing import Wish, propose_policy, propose_root
from control_plane.policy.roles import build_snapshot, build_timestamp, key_of, sign_role, signer_of
from edge_agent.policy_sync.updater import PolicyUpdater
from edge_agent.usb_policy.exchange import Offer, VerifiedPolicy
from edge_agent.usb_policy.store import GuardPolicyStore
from edge_agent.usb_policy.trust import Trust, trust_file, trusted_metadata
from edge_agent.usb_policy.verify_child import judge
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.identity import HostId
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION
from tests.control_plane.policy.centre import PERSON, POLICY, Centre, credential_for
from tests.fakes.host import Host


@dataclass(frozen=True)
class Person:
    """`credential` is what they act with; somebody's recovery key has none."""

    name: str
    signatory: Signatory
    key: PersonKey

    @property
    def private(self) -> ec.EllipticCurvePrivateKey:
        assert self.signatory.credential is not None
        key = self.signatory.credential.tuf_key
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key


def ada(centre: Centre) -> Person:
    """Return the administrator of the first start."""
    return _person(PERSON, centre.credential)


def another(centre: Centre, name: str) -> Person:
    """Return somebody with a credential and a key that no root names yet."""
    return _person(name, credential_for(centre.keys))


def key_alone(centre: Centre, name: str) -> Person:
    """Return a key without a credential."""
    person = another(centre, name)
    return Person(name, Signatory(person.signatory.signer), person.key)


def _person(name: str, credential: Credential) -> Person:
    key = credential.tuf_key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Person(name, Signatory(credential.signer, credential), PersonKey(name, key.public_key(), "file:key"))


def signed_by(draft: Draft, *people: Person) -> Draft:
    """Return the draft as it comes back from a round, each time as the file that travels.

    Who becomes a signer by it has compared the root.
    """
    compared = sha256(draft.parts.roots[-1]).hexdigest()
    for person in people:
        draft = Draft.parse(sign(draft, replace(person.signatory, root_sha256=compared)).encode())
    return draft


def change_root(centre: Centre, wish: Wish, proposer: Person, *others: Person) -> int:
    draft = propose_root(wish, centre.publisher.parts(), proposer.signatory, centre.clock)
    change = signed_by(draft, *others).change
    assert change is not None
    return centre.publisher.change_root(change, proposer.name)


def publish(centre: Centre, proposer: Person, *others: Person, authored: AuthoredPolicy = POLICY) -> int:
    return centre.publisher.publish(policy_of(centre, proposer, *others, authored=authored), proposer.name)


def policy_of(centre: Centre, proposer: Person, *others: Person, authored: AuthoredPolicy = POLICY) -> Publication:
    """Return the next policy, signed by these."""
    assert proposer.signatory.credential is not None
    draft = propose_policy(authored, centre.publisher.parts(), proposer.signatory.credential, centre.clock)
    layer = signed_by(draft, *others).layers[0]
    return Publication(layer.layer, layer.metadata, layer.policy)


def added(*people: Person, threshold: int | None = None, remove: tuple[str, ...] = ()) -> Wish:
    return Wish(add=tuple(person.key.key for person in people), threshold=threshold, remove=remove)


def online_key(centre: Centre) -> Wish:
    """Return the wish that the centre's newest key takes over."""
    return Wish(online=key_of(parse_spki(centre.publisher.next_online_key())))


class Modality:
    """A host that was enrolled, and whose guard was pinned, when the root was what it is at its making."""

    def __init__(self, folder: Path, root: bytes) -> None:
        self._folder, self._root = folder, root
        self.host = Host(folder / "agent")
        self.state = folder / "guard"
        self.state.mkdir(mode=0o700, parents=True)
        self._trust = Trust(HostId(bytes(16)), ORGANISATION, root)
        trust_file(self.state).write_bytes(self._trust.encode())
        self.guard_error = ""
        self.start()

    def start(self) -> None:
        self.updater = PolicyUpdater(
            trust_folder=self._folder / "agent" / "policy",
            policy_root=self._root,
            host_id=self.host.host_id,
            store=self.host.store,
            journal=self.host.journal,
            database=self.host.database,
            log=self.host.log,
        )
        self.guard = GuardPolicyStore(self.state, self._trust)

    def forget_metadata(self) -> None:
        """Lose what TUF keeps on this host; what was accepted is kept elsewhere."""
        shutil.rmtree(self._folder / "agent" / "policy")
        shutil.rmtree(trusted_metadata(self.state))
        self.start()

    def offer(self, head: HeadBundle, layer: LayerBundle) -> None:
        """Offer the same bundles to both, as the network would."""
        self.updater.offer_layer(layer.encode())
        self.updater.offer_head(head.encode())
        self.guard_error = ""
        try:
            judged = judge(self.state, Offer(head.encode(), (layer.encode(),)).encode())
            assert isinstance(judged, VerifiedPolicy)
            self.guard.take(judged)
        except (Refused, IntegrityFailure, Unavailable) as exc:
            self.guard_error = f"{type(exc).__name__}: {exc}"

    def offer_published(self, centre: Centre) -> None:
        self.offer(*published(centre))

    @property
    def versions(self) -> tuple[int, int]:
        """Return what is in force at the agent and at the guard."""
        policy, guarded = self.host.store.in_force(), self.guard.in_force
        return (policy.version if policy else 0, guarded.version if guarded else 0)

    @property
    def errors(self) -> tuple[str, str]:
        return self.updater.error.partition(":")[0], self.guard_error.partition(":")[0]


def published(centre: Centre) -> tuple[HeadBundle, LayerBundle]:
    head, layer = centre.publisher.head(), centre.publisher.layer(ORGANISATION)
    assert head is not None
    assert layer is not None
    return HeadBundle.parse(head.encode()), LayerBundle.parse(layer.encode())


def vouched_for(
    centre: Centre, layer: LayerBundle, *, root: bytes = b"", targets: bytes = b"", ahead: int = 1
) -> HeadBundle:
    """Return what a centre that checks nothing would have its online key sign over `layer`."""
    head, _ = published(centre)
    roots = (*head.roots, root) if root else head.roots
    name = centre.keys.online_keys()[-1]
    online = [signer_of(centre.keys.p256(name))]
    version = json.loads(head.timestamp)["signed"]["version"] + ahead
    now = centre.clock.now()
    snapshot = sign_role(build_snapshot(targets or head.targets, [layer], version=version, now=now), online)
    timestamp = sign_role(build_timestamp(snapshot, version=version, now=now), online)
    return HeadBundle(roots, timestamp, snapshot, targets or head.targets)
