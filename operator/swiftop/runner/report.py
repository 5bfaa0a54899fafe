"""What a pod reports, written once: each member by name, and what of a document is believed.

The runner writes reports, and the operator reads them; this module goes into the pod, so it needs Python 3.9 and the
standard library alone. A report comes out of a pod that runs other people's code: ``read`` believes nothing, and
whoever takes anything out of a report takes it through ``read``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional, Union

from .typed_json import to_json

LARGEST = 253_370_764_800
"""Largest number in a report: 1 January 9999 as a Unix time, so that each time in a report can be printed."""
LARGEST_SIZE = 1 << 53
"""Likewise of bytes, which a model has more of: what all readers of JSON hold exactly."""
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Member(NamedTuple):
    """One member of a report. Whole numbers are never negative; without a ``metric`` it is no metric."""

    name: str
    type: str  # "int", "float", "str", or "size" for bytes
    metric: str
    help: str


TRAINING: tuple[Member, ...] = (
    Member("updated", "int", "", "When this was reported, as Unix time"),
    Member("phase", "int", "swiftop_run_phase", "0 preparing, 1 training, 2 evaluating, 3 saving, 4 finished"),
    Member("step", "int", "swiftop_run_step", "Optimizer steps done"),
    Member("maxSteps", "int", "swiftop_run_max_steps", "Optimizer steps in all"),
    Member("epoch", "float", "swiftop_run_epoch", "Epochs done"),
    Member("loss", "float", "swiftop_run_loss", "Last logged training loss"),
    Member("evalLoss", "float", "swiftop_run_eval_loss", "Last evaluation loss"),
    Member("learningRate", "float", "swiftop_run_learning_rate", "Last logged learning rate"),
    Member("gradNorm", "float", "swiftop_run_grad_norm", "Last logged gradient norm"),
    Member("secondsPerStep", "float", "swiftop_run_step_seconds", "Mean seconds per step of this execution"),
    Member("etaSeconds", "int", "swiftop_run_eta_seconds", "Expected seconds until the last step"),
    Member("memoryGiB", "float", "swiftop_run_gpu_memory_gib", "Highest GPU memory reserved, GiB"),
    Member("checkpointStep", "int", "swiftop_run_checkpoint_step", "Step of the newest complete checkpoint"),
    Member(
        "checkpointTime",
        "int",
        "swiftop_run_checkpoint_timestamp_seconds",
        "When the newest complete checkpoint was written, as Unix time",
    ),
    Member("bestStep", "int", "swiftop_run_best_step", "Step of the best checkpoint"),
    Member("bestMetric", "float", "swiftop_run_best_metric", "Metric of the best checkpoint"),
    Member("checkpointEvalLoss", "float", "", "Last evaluation loss up to the newest complete checkpoint"),
    Member("bestEvalLoss", "float", "", "Last evaluation loss up to the best checkpoint"),
    Member("trackerWorkspace", "str", "", "Whose API key it is, as only the tracker's server knows"),
    Member("dataRows", "int", "swiftop_run_dataset_rows", "Rows of the dataset that were read"),
    Member("dataDropped", "int", "swiftop_run_dataset_dropped_rows", "How many of them ms-swift dropped"),
    Member("dataTooLong", "int", "", "How many of the dropped were longer than the limit"),
    Member("dataTruncated", "int", "", "Rows that were cut to the limit instead"),
    Member("validationRows", "int", "", "Rows of the validation data that were read"),
    Member("validationDropped", "int", "", "How many of them ms-swift dropped"),
)
MOST_TARGETS = 4  # repositories that one export is pushed to
EXPORTING: tuple[Member, ...] = (
    Member("updated", "int", "", "When this was reported, as Unix time"),
    Member(
        "phase",
        "int",
        "swiftop_export_phase",
        "0 preparing, 1 merging, 2 verifying, 3 quantizing, 4 pushing, 5 finished",
    ),
    Member("bytesDone", "size", "swiftop_export_done_bytes", "Bytes of the step that are done"),
    Member("bytesTotal", "size", "swiftop_export_total_bytes", "Bytes of the step in all"),
    Member("etaSeconds", "int", "swiftop_export_eta_seconds", "Expected seconds until the end of the step"),
    Member("artifactDigest", "str", "", "SHA-256 of the list of files of the result"),
    Member("artifactBytes", "size", "swiftop_export_artifact_bytes", "Size of the result"),
    Member("artifactDtype", "str", "", "Type of its weights"),
    Member("artifactEvalLoss", "float", "", "Last evaluation loss of the checkpoint that it was made of"),
    Member("artifactQuantization", "str", "", "Method and bits of its quantization, as awq-int4"),
    Member("merged", "int", "", "1 once the model is there that is quantized"),
    Member("verified", "int", "", "1 once the result was compared with what it was made of"),
    Member("tensors", "int", "", "Tensors of the result that were read"),
    Member("compared", "int", "", "How many of these were compared with what they were made of"),
    Member("templateEqual", "int", "", "1 when its chat template gives the tokens of the training, 0 when it does not"),
    *(
        Member(f"{name}{target}", type_, "", f"{text}, of target {target}")
        for target in range(MOST_TARGETS)
        for name, type_, text in (
            ("commit", "str", "Id of the commit that has the files"),
            ("visibility", "str", "Who may read the repository"),
            ("files", "int", "Files compared with the hub's listing"),
            ("bytes", "size", "Size of these files"),
            ("bySize", "int", "Files compared by size alone, since the hub tells no digest of them"),
        )
    ),
)
UPLOADING: tuple[Member, ...] = (
    Member("updated", "int", "", "When this was reported, as Unix time"),
    Member("phase", "int", "swiftop_upload_phase", "0 preparing, 1 checking, 2 uploading, 3 finished"),
    Member("bytesDone", "size", "swiftop_upload_done_bytes", "Bytes of the step that are done"),
    Member("bytesTotal", "size", "swiftop_upload_total_bytes", "Bytes of the step in all"),
    Member("etaSeconds", "int", "swiftop_upload_eta_seconds", "Expected seconds until the end of the step"),
    Member("total", "int", "swiftop_upload_rows", "Rows in the file, so far"),
    Member("bad", "int", "swiftop_upload_bad_rows", "Rows that cannot be trained on"),
    Member("duplicates", "int", "swiftop_upload_duplicate_rows", "Good rows that are the same as an earlier one"),
    Member("turns", "int", "", "Turns of the good rows"),
    Member("characters", "int", "", "Characters of the good rows"),
    Member("tokens", "int", "", "Tokens of the good rows"),
    Member("overLength", "int", "", "Rows of more tokens than the limit"),
    Member("commit", "str", "", "Id of the commit that has the file"),
    Member("visibility", "str", "", "Who may read the repository"),
    Member("bySize", "int", "", "Files compared by size alone, since the hub tells no digest of them"),
)
SERVING: tuple[Member, ...] = (
    Member("updated", "int", "", "When this was reported, as Unix time"),
    Member("phase", "int", "swiftop_serve_phase", "0 preparing, 1 loading, 2 ready, 3 not ready, 4 draining"),
    Member("names", "int", "swiftop_serve_names", "Names that are to be served"),
    Member("answering", "int", "swiftop_serve_names_answering", "Names that answer with the right weights"),
    Member("requests", "int", "", "Requests so far"),
    Member("failedRequests", "int", "", "Requests that ended in an error of the server"),
    Member("inFlight", "int", "", "Requests that are being answered or wait"),
    Member("queued", "int", "", "Requests that wait for the engine"),
    Member("tokens", "int", "", "Tokens generated so far"),
    Member("tokensPerSecond", "float", "swiftop_serve_tokens_per_second", "Tokens generated, of late"),
    Member("firstTokenSeconds", "float", "swiftop_serve_first_token_seconds", "Median wait for a first token, of late"),
    Member("loadSeconds", "float", "swiftop_serve_load_seconds", "From the start until the model was loaded"),
    Member("adapters", "str", "", "Digest of the declared adapters that were taken last, the bad ones told"),
    Member("badAdapter", "str", "", "First adapter that is not served, or not as it is declared"),
    Member("badAdapterWhy", "str", "", "Why, in a word: LoadFailed, AnswersAsBase, ..."),
    Member("server", "str", "", "Whose server renders prompts and answers: Swift or Native"),
    Member("serverWhy", "str", "", "Why this one, in a word: TemplateEqual, TemplateDiffers, ..."),
)
PREPARING, LOADING, READY, NOT_READY, DRAINING = range(5)  # phases of what serves
PREVIOUS: tuple[Member, ...] = (
    Member("pod", "str", "", "UID of its pod"),
    Member("time", "int", "", "When it ended, as Unix time"),
    Member("reason", "str", "", "Why it ended; Lost when it left no message"),
    Member("step", "int", "", "The last step that it logged"),
    Member("keptStep", "int", "", "Step of the newest complete checkpoint at its end"),
)


def read(members: tuple[Member, ...], document: object) -> dict[str, Union[float, str]]:
    """What of a document is believed: known members that are finite numbers in range, or short plain words.

    A member that is anything else is left out, and nothing but that member.
    """
    if not isinstance(document, Mapping):
        return {}
    found = {member.name: _value(member, document.get(member.name)) for member in members}
    return {name: value for name, value in found.items() if value is not None}


def _value(member: Member, value: object) -> Union[float, str, None]:
    if member.type == "str":
        return value if isinstance(value, str) and _WORD.fullmatch(value) else None
    known = number(value, LARGEST_SIZE if member.type == "size" else LARGEST)
    if known is None or member.type == "float":
        return known
    return int(known) if known >= 0 else None


def number(value: object, largest: int = LARGEST) -> Optional[float]:
    """A number in range or None: neither NaN nor infinity, which JSON has not, nor what no training can mean."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -largest <= value <= largest:
        return None
    return value


def attribute(member: str) -> str:
    """Name of a member as a Python attribute: ``memoryGiB`` is ``memory_gib``."""
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", member.replace("GiB", "Gib")).lower()


@dataclass(frozen=True)
class Previous:
    """How an execution before this one ended: its own termination message may have vanished with its pod."""

    pod: str
    time: int
    reason: str
    step: Optional[int] = None
    kept_step: Optional[int] = None

    def to_json(self) -> dict[str, Any]:
        """As a member of a report."""
        found: dict[str, Any] = to_json(self)
        return found


PREVIOUS_ONES = 3  # that a report tells of: pods that come and go at once may all be gone before anybody looks


def read_previous(document: object) -> tuple[Previous, ...]:
    """The ends of executions before, as a report tells them, the newest last."""
    said = document.get("previous") if isinstance(document, Mapping) else None
    ends = said[-PREVIOUS_ONES:] if isinstance(said, list) else []
    return tuple(end for one in ends if (end := _previous(one)) is not None)


def _previous(said: object) -> Optional[Previous]:
    found: dict[str, Any] = {attribute(name): value for name, value in read(PREVIOUS, said).items()}
    return Previous(**found) if {"pod", "time", "reason"} <= found.keys() else None


@dataclass(frozen=True)
class BadRow:
    """A row of a dataset that cannot be trained on."""

    line: int  # of the file; of a JSON array the number of the row
    why: str


BAD_ROWS = 20  # told one by one, in a termination message
WHY_CHARACTERS = 200


def read_bad_rows(document: object) -> tuple[BadRow, ...]:
    """The bad rows that a termination message tells. Texts are cut; who shows them makes them printable."""
    said = document.get("badRows") if isinstance(document, Mapping) else None
    found = []
    for pair in said[:BAD_ROWS] if isinstance(said, list) else ():
        line, why = pair if isinstance(pair, list) and len(pair) == 2 else (None, None)
        known = number(line)
        if known is not None and known >= 0 and isinstance(why, str):
            found.append(BadRow(int(known), why[:WHY_CHARACTERS]))
    return tuple(found)


ACCELERATION_PARTS = (
    "attention",
    "borders",
    "linears",
    "mlp",
    "liger",
    "batch",
    "checkpointing",
    "loader",
    "eightbit",
)
"""What a training can be accelerated by. Each part falls away by itself."""
_WHY = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")
_LARGEST_BATCH, _LARGEST_GIB = 1 << 20, 1 << 20


@dataclass(frozen=True)
class Accelerated:
    """What became of the acceleration that was asked for, and which settings were chosen with it."""

    active: bool
    parts: tuple[str, ...] = ()  # at work
    skipped: tuple[tuple[str, str], ...] = ()  # part, and why in a word
    per_device_batch_size: Optional[int] = None
    gradient_accumulation_steps: Optional[int] = None
    gradient_checkpointing: Optional[bool] = None
    estimated_gib: Optional[float] = None  # of each GPU's memory
    gpu_gib: Optional[float] = None

    def to_json(self) -> dict[str, Any]:
        """As a member of a report."""
        found: dict[str, Any] = to_json(self)
        renamed = {name.replace("Gib", "GiB"): value for name, value in found.items()}
        return {**renamed, "skipped": [list(pair) for pair in self.skipped]}


def read_acceleration(document: object) -> Optional[Accelerated]:
    """What a report tells of the acceleration: known parts once each, plain words, numbers in range."""
    said = document.get("acceleration") if isinstance(document, Mapping) else None
    if not isinstance(said, Mapping) or not isinstance(said.get("active"), bool):
        return None
    checkpointing = said.get("gradientCheckpointing")
    return Accelerated(
        active=said["active"],
        parts=tuple(part for part in ACCELERATION_PARTS if part in _few(said.get("parts"))),
        skipped=tuple(_skipped(said.get("skipped")).items()),
        per_device_batch_size=_count(said.get("perDeviceBatchSize")),
        gradient_accumulation_steps=_count(said.get("gradientAccumulationSteps")),
        gradient_checkpointing=checkpointing if isinstance(checkpointing, bool) else None,
        estimated_gib=_gib(said.get("estimatedGiB")),
        gpu_gib=_gib(said.get("gpuGiB")),
    )


def _few(said: object) -> list[Any]:
    return said[: 2 * len(ACCELERATION_PARTS)] if isinstance(said, list) else []


def _skipped(said: object) -> dict[str, str]:
    pairs = (pair for pair in _few(said) if isinstance(pair, list) and len(pair) == 2)
    texts = ((part, why) for part, why in pairs if isinstance(part, str) and isinstance(why, str))
    return {part: why for part, why in texts if part in ACCELERATION_PARTS and _WHY.fullmatch(why)}


def _count(value: object) -> Optional[int]:
    known = number(value, _LARGEST_BATCH)
    return int(known) if known is not None and known >= 1 and known == int(known) else None


def _gib(value: object) -> Optional[float]:
    known = number(value, _LARGEST_GIB)
    return known if known is not None and known > 0 else None
