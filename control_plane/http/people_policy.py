"""The people's door, as far as policy goes: publishing, rolling out, who signs, and looking back and ahead."""

from apiflask import APIFlask

from control_plane.http.people_policy_models import (
    OnlineKeyAnswer,
    PublishAnswer,
    PublishRequest,
    RolloutsAnswer,
    RolloutsQuery,
    RootRequest,
    SimulateAnswer,
    SimulateRequest,
    SteerRequest,
    TargetsRequest,
    VersionAnswer,
    VersionQuery,
    VersionsAnswer,
    VersionsQuery,
)
from control_plane.http.people_services import PeopleServices, permitted
from control_plane.people.decide import Permission
from control_plane.policy.exchange import LayerAddition, Publication, RootChange
from control_plane.policy.file.reading import parse_policy_file
from control_plane.policy.versions import bundle_json
from control_plane.rollout.plan import Plan
from control_plane.rollout.service import Steering
from shared.canonical import Json
from shared.fields import encode_base64


def add_policy(app: APIFlask, services: PeopleServices) -> None:
    _add_publishing(app, services)
    _add_rollouts(app, services)
    _add_signers(app, services)
    _add_looking(app, services)


def _add_publishing(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/api/v1/policy/parts")
    def policy_parts() -> dict[str, Json]:
        """Return what a publisher signs on top of."""
        permitted(services, Permission.POLICY_PUBLISH)
        return services.policy.parts().json()

    @app.post("/api/v1/policy/publish")
    @app.input(PublishRequest, location="json", arg_name="wanted")
    @app.output(PublishAnswer)
    def publish(wanted: PublishRequest) -> dict[str, Json]:
        """Publish a policy layer that its author signed."""
        person = permitted(services, Permission.POLICY_PUBLISH)
        sent: dict[str, Json] = wanted.model_dump(exclude_none=True)
        plan = Plan.parse(sent.pop("plan")) if "plan" in sent else None
        version = services.rollouts.publish(Publication.parse(sent), plan, person.name)
        return {"version": version, "remark": services.policy.remark(wanted.layer, version)}


def _add_rollouts(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/api/v1/policy/rollouts")
    @app.input(RolloutsQuery, location="query", arg_name="wanted")
    @app.output(RolloutsAnswer)
    def rollouts(wanted: RolloutsQuery) -> dict[str, Json]:
        """Return how far each roll-out is, ring by ring, and what it waits for."""
        permitted(services, Permission.STATUS_READ)
        return _rollouts(services, wanted.layer)

    @app.post("/api/v1/policy/rollouts")
    @app.input(SteerRequest, location="json", arg_name="wanted")
    @app.output(RolloutsAnswer)
    def steer_rollout(wanted: SteerRequest) -> dict[str, Json]:
        """Stop a roll-out, have it go on, take it a ring further, or take it back."""
        person = permitted(services, Permission.ROLLOUT_STEER)
        services.rollouts.steer(wanted.layer, Steering(wanted.do), person.name, wanted.because)
        return _rollouts(services, wanted.layer)


def _add_signers(app: APIFlask, services: PeopleServices) -> None:
    @app.post("/api/v1/policy/root")
    @app.input(RootRequest, location="json", arg_name="wanted")
    @app.output(PublishAnswer)
    def change_root(wanted: RootRequest) -> dict[str, Json]:
        """Publish a new policy root that enough people signed."""
        person = permitted(services, Permission.POLICY_PUBLISH)
        return {"version": services.policy.change_root(RootChange.parse(wanted.model_dump()), person.name)}

    @app.post("/api/v1/policy/targets")
    @app.input(TargetsRequest, location="json", arg_name="wanted")
    @app.output(PublishAnswer)
    def add_layers(wanted: TargetsRequest) -> dict[str, Json]:
        """Publish targets that delegate more layers, once enough people signed them."""
        person = permitted(services, Permission.POLICY_PUBLISH)
        return {"version": services.policy.add_layers(LayerAddition.parse(wanted.model_dump()), person.name)}

    @app.post("/api/v1/policy/online-key")
    @app.output(OnlineKeyAnswer)
    def next_online_key() -> dict[str, Json]:
        """Return the key that may take over snapshot and timestamp, once people sign a root that says so."""
        permitted(services, Permission.POLICY_PUBLISH)
        return {"public": encode_base64(services.policy.next_online_key())}


def _add_looking(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/api/v1/policy/versions")
    @app.input(VersionsQuery, location="query", arg_name="wanted")
    @app.output(VersionsAnswer)
    def versions(wanted: VersionsQuery) -> dict[str, Json]:
        """Return who published which version of a layer when, and what each changed; the newest first."""
        permitted(services, Permission.STATUS_READ)
        return {"versions": [one.json() for one in services.versions.history(wanted.most, wanted.layer)]}

    @app.get("/api/v1/policy/versions/<int:version>")
    @app.input(VersionQuery, location="query", arg_name="wanted")
    @app.output(VersionAnswer)
    def version(version: int, wanted: VersionQuery) -> dict[str, Json]:
        """Return one version as it was signed, for whoever asks to verify."""
        permitted(services, Permission.POLICY_PUBLISH)
        return bundle_json(services.versions.bundle(version, wanted.layer))

    @app.post("/api/v1/policy/simulate")
    @app.input(SimulateRequest, location="json", arg_name="wanted")
    @app.output(SimulateAnswer)
    def simulate(wanted: SimulateRequest) -> dict[str, Json]:
        """Return which devices and captures a policy would treat otherwise; nothing is changed."""
        permitted(services, Permission.POLICY_PUBLISH)
        policy = parse_policy_file(wanted.policy.encode(), "policy")
        return services.simulation.run(policy, wanted.days)


def _rollouts(services: PeopleServices, layer: str | None) -> dict[str, Json]:
    rollouts, unreadable = services.rollouts.told(layer)
    return {"rollouts": list(rollouts), "unreadable": list(unreadable)}
