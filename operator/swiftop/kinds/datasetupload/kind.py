"""DatasetUpload as a kind that ends."""

from __future__ import annotations

from swiftop.api.v1alpha1.datasetupload import DatasetUpload
from swiftop.batch.kind import BatchKind
from swiftop.batch.situation import Words
from swiftop.kinds.datasetupload import prepare, status
from swiftop.kinds.datasetupload.build import pod
from swiftop.kinds.datasetupload.prepare import Prepared
from swiftop.runner.report import UPLOADING

_WORDS = Words(
    thing="upload",
    program="upload",
    working="the file is checked and uploaded",
    preparing="the container runs: the hub is asked whether it takes the file",
    finished="the dataset is uploaded",
    headway="it was done",
    steadier="run it where it is not taken away so soon (placement.priorityClassName, other nodes); then apply it with "
    "a new name",
)

KIND: BatchKind[DatasetUpload, Prepared] = BatchKind(
    model=DatasetUpload,
    words=_WORDS,
    members=UPLOADING,
    volatile=status.VOLATILE,
    prepare_with=prepare.prepare,
    pod=pod,
    own=status.own,
)
