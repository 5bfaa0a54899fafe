"""DatasetUpload as a kind that ends."""

from __future__ import annotations

from swiftop.api.v1alpha1.datasetupload import DatasetUpload
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.batch.kind import BatchKind
from swiftop.batch.situation import Policy, Words
from swiftop.kinds.datasetupload import prepare, status
from swiftop.kinds.datasetupload.build import build, job_name
from swiftop.kinds.datasetupload.prepare import Prepared
from swiftop.model.kind import Pinned
from swiftop.runner.protocol import UPLOADING

_WORDS = Words(
    thing="upload",
    program="upload",
    working="the file is checked and uploaded",
    preparing="the container runs: the hub is asked whether it takes the file",
    finished="the dataset is uploaded",
    kept="nothing is kept",  # unused: an upload has no output
    headway="it was done",
    steadier="run it where it is not taken away so soon (placement.priorityClassName, other nodes); then apply it with "
    "a new name",
)


def _policy(upload: DatasetUpload) -> Policy:
    lifecycle = upload.spec.lifecycle
    return Policy(
        suspend=upload.spec.suspend,
        max_retries=lifecycle.max_retries,
        pending_deadline=lifecycle.pending_deadline_seconds,
    )


def _pins(prepared: Prepared) -> Pinned:
    return Pinned(image=prepared.spec.runtime.image or "", swift_version="", command="", digest=prepared.digest)


KIND: BatchKind[DatasetUpload, Prepared, Defaults] = BatchKind(
    model=DatasetUpload,
    words=_WORDS,
    members=UPLOADING,
    volatile=status.VOLATILE,
    policy=_policy,
    prepare_with=prepare.prepare,
    digest_with=prepare.digest,
    build_with=build,
    pins_of=_pins,
    own=status.own,
    job_name=job_name,
)
