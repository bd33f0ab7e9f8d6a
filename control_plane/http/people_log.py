"""The people's door to the Merkle log, laid out as C2SP tlog-tiles has it, for tools that are not ours too."""

from apiflask import APIFlask
from flask import Response

from control_plane.http.people_models import LogProofAnswer, LogProofRequest, WitnessesAnswer
from control_plane.http.people_services import PeopleServices, permitted
from control_plane.people.decide import Permission
from shared.canonical import Json


def add_log(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/api/v1/log/checkpoint")
    def log_checkpoint() -> Response:
        """Return the newest checkpoint of the Merkle log."""
        person = permitted(services, Permission.AUDIT_READ)
        return Response(services.merkle.checkpoint(person.name), content_type="text/plain; charset=utf-8")

    @app.get("/api/v1/log/cosigned")
    def log_cosigned() -> Response:
        """Return the newest checkpoint that most witnesses cosigned, with their signatures beside the log's."""
        person = permitted(services, Permission.AUDIT_READ)
        return Response(services.merkle.cosigned(person.name), content_type="text/plain; charset=utf-8")

    @app.get("/api/v1/log/witnesses")
    @app.output(WitnessesAnswer)
    def log_witnesses() -> dict[str, Json]:
        """Return who saw what of the log: each witness, and what was found missing by whom."""
        person = permitted(services, Permission.AUDIT_READ)
        return services.merkle.witnesses(person.name)

    @app.get("/api/v1/log/key")
    def log_key() -> Response:
        """Return by which key checkpoints are signed, in the word of the centre's evidence key."""
        person = permitted(services, Permission.AUDIT_READ)
        return Response(services.merkle.key(person.name), content_type="application/json")

    @app.get("/api/v1/log/tile/<path:name>")
    def log_tile(name: str) -> Response:
        """Return a tile of hashes, or a bundle of entries."""
        person = permitted(services, Permission.AUDIT_READ)
        return Response(services.merkle.tile(person.name, f"tile/{name}"), content_type="application/octet-stream")

    @app.post("/api/v1/log/proof")
    @app.input(LogProofRequest, location="json", arg_name="wanted")
    @app.output(LogProofAnswer)
    def log_proof(wanted: LogProofRequest) -> dict[str, Json]:
        """Return one record's public part with the proof that it is in the log."""
        person = permitted(services, Permission.AUDIT_READ)
        found = services.merkle.record(person.name, wanted.source, wanted.seq)
        return {"public": found.public.decode(errors="replace"), "proof": found.proof}
