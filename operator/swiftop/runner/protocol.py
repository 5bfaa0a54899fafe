"""What pod and operator say to each other, written once: the plan, the words of an end, where to ask.

The operator builds a ``Plan``, which the runner reads; what it reports is in ``report``. Both import this module, so it
needs Python 3.9 and the standard library alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from .typed_json import BadJSON, from_json, to_json

PLAN_VARIABLE = "SWIFTOP_PLAN"
PLAN_VERSION = 1
POD_UID, POD_NAME = "SWIFTOP_POD_UID", "SWIFTOP_POD_NAME"  # by the downward API: who this execution is
NODE_RANK, MASTER_ADDR = "$(NODE_RANK)", "$(MASTER_ADDR)"  # words of a command that only the pod can fill in

PORT = 8080
SERVE_PORT = 8000  # of a model that is served: /v1/..., /ready, /health, /metrics
PROGRESS_PATH, METRICS_PATH = "/progress", "/metrics"
PROGRESS_PREFIX = "swiftop-progress "  # of a line in the pod's log: the same document, for those who cannot reach it
REPORT_VERSION = 1
TERMINATION_LOG = "/dev/termination-log"
TERMINATION_BYTES = 4096  # the kubelet cuts a longer message off
LOG_BYTES = 2048  # of the log's end in a termination message

FINISHED, INTERRUPTED, FAILED = "finished", "interrupted", "failed"
OUTCOMES = (FINISHED, INTERRUPTED, FAILED)

NVIDIA = "nvidia.com/gpu"
CLIENT_TOKENS = {"modelscope": "MODELSCOPE_API_TOKEN", "huggingface": "HF_TOKEN"}
"""Variable that each hub's own client reads its token from."""

DEFAULT_LOGGING_STEPS = 5  # ms-swift's own, in each of its releases


class BadPlan(BadJSON):
    """The plan is absent or unusable."""


@dataclass(frozen=True)
class Owner:
    """The object that the pod works for."""

    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class Source:
    """A checkpoint of another run to start from, and what of this run has to fit it."""

    directory: str  # the other run's output, as this pod sees it
    uid: str  # of that run
    tuner: str  # of this run: full, lora, ...
    step: Optional[int] = None  # None: the newest complete one
    weights_only: bool = False
    rank: Optional[int] = None  # of this run's LoRA; None: not said
    model: str = ""  # of this run: hub id or path


@dataclass(frozen=True)
class UploadedDataset:
    """What a DatasetUpload put on a hub, and what is trained on: the runner needs none of it, whoever resumes does."""

    upload: str  # name of the object
    hub: str
    repo: str
    revision: str  # id of the commit


@dataclass(frozen=True)
class Acceleration:
    """How a training is to be made faster, as far as model, GPU and image allow."""

    mode: str = "Auto"  # the same training; Approximate: in 8 bits where that is faster
    fixed: tuple[str, ...] = ()  # flags that the spec itself gives, and that stay as they are


@dataclass(frozen=True)
class TrainSettings:
    """What the program ``train`` has to know of its command, which it never reads back out of it."""

    resume: bool = True
    logging_steps: Optional[int] = None  # None: not logged by steps
    silent_evaluation: bool = False  # evaluations show no progress bar: nothing is heard until one has ended
    max_steps: Optional[int] = None
    asked_epochs: bool = False  # ms-swift's own --max_epochs, which ends below its max_steps
    stall_seconds: Optional[float] = None
    preparation_seconds: float = 1800.0  # least patience before the first step: a download does not come near it
    finish_timeout: float = 300.0  # for the tracker's last upload, which may never end
    swanlab_host: Optional[str] = None
    resume_from: Optional[Source] = None
    datasets: tuple[UploadedDataset, ...] = ()
    acceleration: Optional[Acceleration] = None  # None: ms-swift's own path


@dataclass(frozen=True)
class ExportTarget:
    """A repository that the result is pushed to."""

    hub: str
    repo: str
    token_env: str  # name of the variable with the hub's token
    visibility: str = "private"
    revision: str = ""
    commit_message: str = ""
    overwrite: bool = False


@dataclass(frozen=True)
class Quantize:
    """How a model is quantized once it is complete and verified."""

    command: tuple[str, ...]
    source: str  # folder of the model until then, which the command reads
    partial: str  # folder that the command writes to
    method: str  # in ms-swift's words
    bits: Optional[int] = None  # None: the method has but one
    group_size: Optional[int] = None  # None: ms-swift's own
    data_type: str = ""  # of 4 bit bnb: nf4 or fp4
    token_env: tuple[str, ...] = ()  # variables of the tokens that the rows of data are read with

    @property
    def words(self) -> str:
        """As in a report: awq-int4, fp8."""
        return self.method if self.bits is None else f"{self.method}-int{self.bits}"


@dataclass(frozen=True)
class ExportSettings:
    """What the program ``export`` has to know. The plan's command merges the adapter into ``partial``."""

    source: str  # folder of what is exported; empty: the model itself
    model: str  # hub id or folder of the model; empty: the source itself names it
    partial: str  # folder that the command writes to
    hub: str = ""
    revision: str = ""
    type: str = ""  # in ms-swift's words
    adapter: str = ""  # hub id of the adapter, where there is no source
    uid: str = ""  # of the run that wrote the source
    merge: bool = True
    dtype: str = ""  # empty: that of the model
    verify: bool = True
    bake_template: bool = False
    quantize: Optional[Quantize] = None  # None: the model stays as it is
    targets: tuple[ExportTarget, ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict)  # what is known of the result, for its README.md


@dataclass(frozen=True)
class UploadSettings:
    """What the program ``upload`` has to know."""

    source: str  # the file in the pod
    hub: str
    repo: str
    path: str  # in the repository
    token_env: str  # name of the variable with the hub's token
    visibility: str = "private"
    revision: str = ""
    commit_message: str = ""
    overwrite: bool = False
    format: str = "Auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    max_bad_rows: int = 0
    tokenizer: str = ""  # id of a model; empty: tokens are not counted
    tokenizer_hub: str = ""
    max_length: Optional[int] = None


@dataclass(frozen=True)
class ServedAdapter:
    """An adapter that is served beside its model, under a name of its own."""

    name: str
    path: str  # folder in the pod, or hub id
    rank: Optional[int] = None  # None: as its own configuration says
    version: Optional[str] = None  # another one, other weights, though they lie in the same folder


SWIFT, NATIVE = "Swift", "Native"
"""Servers that are started: ms-swift's own around the engine, or the engine's own. The spec knows Auto as well."""


@dataclass(frozen=True)
class GatePrompt:
    """What a new pod has to answer rightly before it is ready."""

    name: str  # that is asked
    prompt: str
    contains: str  # in the answer
    max_tokens: int = 256


@dataclass(frozen=True)
class ServeSettings:
    """What the program ``serve`` has to know. The plan's command is ms-swift's deploy without port, host and key."""

    engine: str
    server: str
    name: str  # that the model itself is served under
    model: str  # hub id or folder
    native: tuple[str, ...] = ()  # the engine's own server, likewise without port, host and key
    swift_only: str = ""  # why Auto takes Swift whatever the prompt is, in a word of the report
    adapters: tuple[ServedAdapter, ...] = ()
    adapters_file: str = ""  # where they stand instead, and are followed; empty: they stay as they are
    model_revision: str = ""
    hub: str = ""
    port: int = SERVE_PORT
    key_env: str = ""  # name of the variable with the API key; empty: everybody may ask
    drain_seconds: float = 5.0  # that requests are still taken after SIGTERM, until all have learned of it
    answer_seconds: float = 300.0  # longest answer that is waited for after that
    stall_seconds: float = 120.0  # requests in flight without a token: the engine hangs
    load_seconds: float = 1800.0
    gate: tuple[GatePrompt, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All that PID 1 of a pod has to know. Unknown members of its JSON are ignored, so that more can be said later."""

    program: str
    owner: Owner
    attempt: int
    command: tuple[str, ...]
    output_dir: str
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the program: its own type
    swift_version: Optional[str] = None
    required_env: tuple[str, ...] = ()
    secret_env: tuple[str, ...] = ()
    gpus: int = 0
    gpu_resource: str = NVIDIA
    nodes: int = 1
    world_size: int = 1  # processes on all nodes
    elastic: bool = False  # torchrun stands between the runner and the workers
    master_addr: Optional[str] = None
    cache_dir: Optional[str] = None
    cache_keys: tuple[str, ...] = ()  # a name for each thing that is loaded from a hub
    min_free_bytes: int = 0
    port: int = PORT
    progress_interval: float = 15.0
    termination_log: str = TERMINATION_LOG

    def to_json(self) -> str:
        """Text of the environment variable."""
        content = {"version": PLAN_VERSION, **to_json(self)}
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))

    @staticmethod
    def from_json(text: Optional[str]) -> Plan:
        """The plan in that text; raises ``BadPlan``."""
        if not text:
            raise BadPlan(f"environment variable {PLAN_VARIABLE} is not set")
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadPlan(f"it is not valid JSON: {error}") from error
        version = content.get("version") if isinstance(content, dict) else None
        if version != PLAN_VERSION:
            raise BadPlan(f"plan version {version!r} is not supported")
        try:
            return from_json(Plan, content)
        except BadJSON as error:
            raise BadPlan(str(error)) from error
