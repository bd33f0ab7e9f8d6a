"""A modality sends; the images are sealed, acknowledged, delivered and receipted before our eyes."""

from collections import Counter
from collections.abc import Sequence

from edge_agent.config import AgentFolder
from edge_agent.health.local import read_status
from provisioning.demo.expectations import Expectation
from provisioning.demo.images import Image
from provisioning.demo.modality import Modality
from provisioning.demo.processes import wait_until
from provisioning.demo.stage import Centre, Stage
from provisioning.demo.steps.enrolment import AE_TITLE, Host

_WAIT_S = 60.0

EXPECTED = (
    Expectation("every-image-acknowledged", "every image is acknowledged to the modality by C-STORE"),
    Expectation("every-image-receipted", "every image is in the vault, and the host holds the vault's receipt for it"),
    Expectation("spool-is-empty", "nothing that was delivered is left on the host"),
)


def modality(ae_title: str, host: Host) -> Modality:
    return Modality(ae_title, "127.0.0.1", host.dicom_port, AE_TITLE)


def capture(stage: Stage, centre: Centre, host: Host, ae_title: str, images: Sequence[Image]) -> None:
    kinds = Counter((image.modality, image.transfer_syntax) for image in images)
    rows = [(kind, syntax, str(count)) for (kind, syntax), count in sorted(kinds.items())]
    size = sum(image.dataset_bytes for image in images)
    stage.display.listing(
        f"{ae_title} sends {len(images)} files, {size / 1e6:.1f} MB, as they lie on disk",
        ("Modality", "Transfer syntax", "Images"),
        rows,
    )
    acknowledged = 0
    with stage.display.doing("C-STORE") as doing:
        for number, sent in enumerate(modality(ae_title, host).send(images), start=1):
            acknowledged += sent.acknowledged
            doing.at(f"{number} of {len(images)} sent, {acknowledged} acknowledged, {_counts(centre, host)}")
        stage.judge("every-image-acknowledged", acknowledged == len(images), f"{acknowledged} of {len(images)}")

        def receipted() -> bool:
            doing.at(_counts(centre, host))
            seen = centre.people.host(host.host_id)
            return (seen["delivered"], seen["waiting"]) == (len(images), 0)

        waited = wait_until(receipted, _WAIT_S, look_every_s=0.1)
    counts = _counts(centre, host)
    held = waited is not None and centre.people.status()["objects"]["count"] == len(images)
    stage.judge("every-image-receipted", held, counts)
    status = read_status(AgentFolder(stage.folders.agent))
    left = status.waiting + status.put_aside
    stage.judge("spool-is-empty", not left, f"{left} objects in the host's spool")


def _counts(centre: Centre, host: Host) -> str:
    status = centre.people.status()
    seen = next(one for one in status["hosts"] if one["host"] == host.host_id)
    return f"{seen['captured']} captured, {status['objects']['count']} in the vault, {seen['delivered']} receipted"
