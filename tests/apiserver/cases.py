"""SFTRuns that are refused or accepted, as patches to the smallest valid run.

One table for both guards: the API server (tests/apiserver/test_crd.py) and ``swiftop preview``, which has none
(tests/unit/api/test_validate.py).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

Patch = dict[str, Any]

MINIMAL: Patch = {
    "apiVersion": "swiftop.dev/v1alpha1",
    "kind": "SFTRun",
    "metadata": {"name": "minimal", "namespace": "default"},
    "spec": {
        "model": {"id": "Qwen/Qwen2.5-7B-Instruct"},
        "datasets": [{"id": "CodyWhy/mh-sharegpt-20250820"}],
        "output": {"volume": {"size": "50Gi"}},
        "resources": {"gpus": 1},
    },
}


@dataclass(frozen=True)
class Case:
    """A patch to the spec, the field that is blamed, and a part of the message where the message is our own."""

    name: str
    spec: Patch
    path: str = ""
    message: str = ""
    metadata: Patch = field(default_factory=dict)

    def object(self) -> Patch:
        """The whole object."""
        return merged(MINIMAL, {"metadata": self.metadata, "spec": self.spec})

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class KindCase:
    """The same for another kind, as a patch to its smallest valid object."""

    name: str
    spec: Patch
    path: str = ""
    message: str = ""
    base: Patch = field(default_factory=dict)

    def object(self) -> Patch:
        """The whole object."""
        return merged(self.base, {"spec": self.spec})

    def __str__(self) -> str:
        return f"{self.base['kind']}: {self.name}"


def merged(base: Patch, patch: Patch) -> Patch:
    """JSON merge patch (RFC 7386): objects are merged, ``None`` removes, everything else replaces."""
    out = copy.deepcopy(base)
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merged(out[key], value)
        else:
            out[key] = merged({}, value) if isinstance(value, dict) else value
    return out


def _training(**fields: Any) -> Patch:
    return {"training": fields}


def _arg(name: str, **value: Any) -> Patch:
    return {"extraArgs": [{"name": name, **(value or {"value": "x"})}]}


def _env(name: str) -> Patch:
    return {"runtime": {"env": [{"name": name, "value": "x"}]}}


def _dataset(**source: Any) -> Patch:
    return {"datasets": [source]}


def _from(name: str | None = "first", step: int | None = None, **members: Any) -> Patch:
    ref = {key: value for key, value in (("name", name), ("step", step)) if value is not None}
    return {"checkpoints": {"from": {"sftRunRef": ref, **members}}}


CLAIM = {"claimName": "data", "path": "chats/train.jsonl"}
FLASH = {"attention": "flash_attn", "maxLength": 2048}
DS_JSON = {"configMap": {"name": "deepspeed", "key": "ds.json"}}
OTHER_JSON = {"configMap": {"name": "deepspeed", "key": "other.json"}}

REFUSED = (
    # attention and packing
    Case(
        "packing without attention", _training(packing=True, maxLength=2048), "spec.training", "attention: flash_attn"
    ),
    Case(
        "packing with sdpa",
        _training(packing=True, maxLength=2048, attention="sdpa"),
        "spec.training",
        "need a flash attention",
    ),
    Case(
        "packing with flex_attention",
        _training(packing=True, maxLength=2048, attention="flex_attention"),
        "spec.training",
        "need a flash attention",
    ),
    Case("paddingFree without attention", _training(paddingFree=True), "spec.training", "need a flash attention"),
    Case("packing without maxLength", _training(packing=True, attention="flash_attn"), "spec.training", "maxLength"),
    Case("attention by a wrong name", _training(attention="flash"), "spec.training.attention"),
    Case(
        "flash attention in fp32",
        _training(precision="fp32", attention="flash_attention_2"),
        "spec.training.attention",
        "use precision: bf16",
    ),
    Case(
        "flash attention on the CPU",
        {"training": {"packing": True, **FLASH}, "resources": {"gpus": 0}},
        "spec.training.attention",
        "needs GPUs",
    ),
    Case("sequences divided among too few", _training(sequenceParallelSize=2), "spec.training", "a divisor"),
    Case(
        "sequences divided unevenly",
        {"training": {"sequenceParallelSize": 3}, "resources": {"gpus": 4}},
        "spec.training.sequenceParallelSize",
        "a divisor",
    ),
    Case(
        "sequences divided among GPUs of one process",
        {"training": {"sequenceParallelSize": 4}, "resources": {"gpus": 4, "processesPerNode": 1}},
        "spec.training.sequenceParallelSize",
        "a divisor",
    ),
    # streaming
    Case("streaming without maxSteps", _training(streaming=True), "spec.training", "set training.maxSteps"),
    Case(
        "streaming with splitRatio",
        {"training": {"streaming": True, "maxSteps": 10}, "validation": {"splitRatio": "0.01"}},
        "spec.validation",
        "use validation.datasets",
    ),
    # sources
    Case("no model source", {"model": {"id": None, "hub": "modelscope"}}, "spec.model", "exactly one of id"),
    Case("two model sources", {"model": {"persistentVolumeClaim": CLAIM}}, "spec.model", "exactly one of id"),
    Case(
        "revision of a model on a volume",
        {"model": {"id": None, "persistentVolumeClaim": CLAIM, "revision": "v1"}},
        "spec.model.revision",
        "remove revision",
    ),
    Case("no datasets", {"datasets": []}, "spec.datasets"),
    Case("datasets left out", {"datasets": None}, "spec.datasets"),
    Case("dataset without a source", _dataset(sample=5), "spec.datasets[0]", "exactly one source"),
    Case("dataset of two sources", _dataset(id="a/b", persistentVolumeClaim=CLAIM), "spec.datasets[0]", "exactly one"),
    Case(
        "dataset of three sources",
        _dataset(id="a/b", persistentVolumeClaim=CLAIM, configMap={"name": "a", "key": "b"}),
        "spec.datasets[0]",
        "exactly one",
    ),
    Case("hub of a file", _dataset(persistentVolumeClaim=CLAIM, hub="huggingface"), "spec.datasets[0]", "belong to"),
    Case("subsets of a file", _dataset(persistentVolumeClaim=CLAIM, subsets=["a"]), "spec.datasets[0]", "belong to"),
    Case("sample of 0 rows", _dataset(id="a/b", sample=0), "spec.datasets[0].sample"),
    Case("dataset by id and by upload", _dataset(id="a/b", uploadRef={"name": "a"}), "spec.datasets[0]", "exactly one"),
    Case("upload without a name", _dataset(uploadRef={}), "spec.datasets[0].uploadRef.name"),
    Case("upload of a name that none has", _dataset(uploadRef={"name": "a.b"}), "spec.datasets[0].uploadRef.name"),
    *(
        Case(
            f"{member} of an upload", _dataset(uploadRef={"name": "a"}, **{member: value}), "spec.datasets[0]", "belong"
        )
        for member, value in (("hub", "modelscope"), ("subsets", ["a"]), ("revision", "v1"))
    ),
    Case(
        "revision of a file",
        {"validation": {"datasets": [{"persistentVolumeClaim": CLAIM, "revision": "v1"}]}},
        "spec.validation.datasets[0].revision",
        "belongs to a dataset by id",
    ),
    *(
        Case(f"revision {revision!r}", _dataset(id="a/b", revision=revision), "spec.datasets[0].revision")
        for revision in ("", "-x", "a#5", "a:b", "a b", "a@b")
    ),
    Case("validation dataset without a source", {"validation": {"datasets": [{}]}}, "spec.validation.datasets[0]"),
    Case("adapter without a source", {"model": {"adapters": [{}]}}, "spec.model.adapters[0]", "exactly one"),
    Case("file without a source", {"files": [{}]}, "spec.files[0]", "exactly one"),
    Case(
        "folder in place of a file",
        {"files": [{"persistentVolumeClaim": {"claimName": "a", "path": "b/."}}]},
        "spec.files[0].persistentVolumeClaim.path",
        "name the file",
    ),
    *(
        Case(f"key {key!r}", _dataset(configMap={"name": "tiny", "key": key}), "spec.datasets[0].configMap.key")
        for key in (".", "..", "..jsonl", "a/b", "a\n")
    ),
    Case("two kinds of hub", {"model": {"hub": "github"}}, "spec.model.hub"),
    # paths
    Case("absolute path as model id", {"model": {"id": "/models/qwen"}}, "spec.model.id", "use persistentVolumeClaim"),
    Case("absolute path as dataset id", _dataset(id="/data/x.jsonl"), "spec.datasets[0].id", "persistentVolumeClaim"),
    Case("relative path as dataset id", _dataset(id="../x.jsonl"), "spec.datasets[0].id", "persistentVolumeClaim"),
    *(
        Case(
            f"dataset path {path!r}",
            _dataset(persistentVolumeClaim={"claimName": "data", "path": path}),
            "spec.datasets[0].persistentVolumeClaim.path",
            "relative to the root of the volume",
        )
        for path in ("/abs/x.jsonl", "../x.jsonl", "a/../../x.jsonl", "a/..", "..")
    ),
    Case(
        "dataset path with the mark of a sample size",
        _dataset(persistentVolumeClaim={"claimName": "data", "path": "x.jsonl#5"}),
        "spec.datasets[0].persistentVolumeClaim.path",
        "rename the file",
    ),
    Case(
        "dataset claim without a path",
        _dataset(persistentVolumeClaim={"claimName": "data"}),
        "spec.datasets[0].persistentVolumeClaim.path",
    ),
    Case(
        "absolute output path",
        {"output": {"volume": None, "persistentVolumeClaim": {"claimName": "out", "path": "/runs"}}},
        "spec.output.persistentVolumeClaim.path",
        "relative",
    ),
    Case(
        "cache path upwards",
        {"cache": {"persistentVolumeClaim": {"claimName": "cache", "path": "../x"}}},
        "spec.cache.persistentVolumeClaim.path",
        "relative",
    ),
    # sizes and numbers
    *(
        Case(f"volume of size {size!r}", {"output": {"volume": {"size": size}}}, "spec.output.volume.size", "above 0")
        for size in ("0", "0Gi", "0.0Gi", "0e5")
    ),
    *(
        Case(f"volume of size {size!r}", {"output": {"volume": {"size": size}}}, "spec.output.volume.size", "a size")
        for size in ("-5Gi", "much", "5 Gi", "", "5Gi\n", ".5Gi", "1e-3", "100m", "1e999", "1e9999999999")
    ),
    Case("memory of 0", {"resources": {"memory": "0"}}, "spec.resources.memory", "above 0"),
    Case("shared memory below 0", {"resources": {"sharedMemory": "-1Gi"}}, "spec.resources.sharedMemory", "a size"),
    Case("no cpu", {"resources": {"cpu": 0}}, "spec.resources.cpu"),
    Case("no cpu, in quotes", {"resources": {"cpu": "0"}}, "spec.resources.cpu"),
    *(
        Case(f"cpu {cpu!r}", {"resources": {"cpu": cpu}}, "spec.resources.cpu")
        for cpu in ("-1", "0.0", "0m", "0.000", "1.5.5", "2k", "4Gi", "10M", "1E", "1e3", "1.5m", "0.0001", "1\n")
    ),
    Case("gpus below 0", {"resources": {"gpus": -1}}, "spec.resources.gpus"),
    Case("gpus left out", {"resources": {"gpus": None}}, "spec.resources.gpus"),
    Case("no nodes", {"resources": {"nodes": 0}}, "spec.resources.nodes"),
    Case("maxLength 0", _training(maxLength=0), "spec.training.maxLength"),
    Case("epochs below 0", _training(epochs=-1), "spec.training.epochs"),
    Case("batch of 0", _training(perDeviceBatchSize=0), "spec.training.perDeviceBatchSize"),
    *(
        Case(f"learning rate {rate!r}", _training(learningRate=rate), "spec.training.learningRate", "a number above 0")
        for rate in ("fast", "", "0", "-1e-4", "1e", "1e-4x", "nan", ".5", "1e-4\n", "1e999", "1e-999")
    ),
    Case("learning rate without quotes", _training(learningRate=0.0002), "spec.training.learningRate"),
    Case("warmup of more than all", _training(warmupRatio="1.5"), "spec.training.warmupRatio", "below 1"),
    Case("weight decay below 0", _training(weightDecay="-1"), "spec.training.weightDecay", "at least 0"),
    Case("dropout of all", {"tuner": {"dropout": "1"}}, "spec.tuner.dropout", "below 1"),
    Case("split of nothing", {"validation": {"splitRatio": "0"}}, "spec.validation.splitRatio", "above 0"),
    Case("split of all", {"validation": {"splitRatio": "1.0"}}, "spec.validation.splitRatio", "below 1"),
    *(
        Case(f"{name} {value!r}", {"lifecycle": {name: value}}, f"spec.lifecycle.{name}")
        for name, value in (
            ("stallSeconds", 59),
            ("maxRetries", -1),
            ("maxRetries", 101),
            ("maxRetries", 1.5),
            ("activeDeadlineSeconds", 0),
            ("pendingDeadlineSeconds", 0),
            ("pendingDeadlineSeconds", 2**31),
            ("ttlSecondsAfterFinished", -1),
            ("ttlSecondsAfterFinished", 2**31),
            ("backoffLimit", 3),
        )
    ),
    Case("suspend by a word", {"suspend": "later"}, "spec.suspend"),
    # quantization and DeepSpeed
    Case(
        "quantization with full tuning",
        {"tuner": {"type": "full", "quantization": {"method": "bnb", "bits": 4}}},
        "spec.tuner.quantization",
        "use type: lora",
    ),
    *(
        Case(
            f"{method} with {bits or 'no'} bits",
            {"tuner": {"quantization": {"method": method, **({"bits": bits} if bits else {})}}},
            "spec.tuner.quantization.bits",
            message,
        )
        for method, wrong, message in (
            ("bnb", (None, 1, 2, 3), "bits: 4 or 8"),
            ("hqq", (None,), "bits: 1 or 2 or 3 or 4 or 8"),
            ("eetq", (None, 1, 2, 3, 4), "bits: 8"),
            ("quanto", (None, 1, 3), "bits: 2 or 4 or 8"),
        )
        for bits in wrong
    ),
    Case("quantization that cannot be trained", {"tuner": {"quantization": {"method": "fp8"}}}, "spec.tuner"),
    Case("bits that no method knows", {"tuner": {"quantization": {"method": "hqq", "bits": 5}}}, "spec.tuner"),
    *(
        Case(f"flag among {field}", {"tuner": {field: names}}, f"spec.tuner.{field}", "a leading dash")
        for field in ("targetModules", "modulesToSave")
        for names in (["--hub_token", "hf_x"], ["q_proj", "-x"], ["q_proj v_proj"])
    ),
    Case(
        "bnb's setting with hqq",
        {"tuner": {"quantization": {"method": "hqq", "bits": 4, "quantType": "nf4"}}},
        "spec.tuner.quantization",
        "belong to method bnb",
    ),
    Case(
        "deepspeed on the CPU",
        {"training": {"deepspeed": "zero2"}, "resources": {"gpus": 0}},
        "spec.training.deepspeed",
        "set resources.gpus",
    ),
    Case(
        "deepspeed with several GPUs per process",
        {"training": {"deepspeed": "zero2"}, "resources": {"gpus": 8, "processesPerNode": 4}},
        "spec.resources.processesPerNode",
        "one GPU per process",
    ),
    Case("deepspeed zero4", _training(deepspeed="zero4"), "spec.training.deepspeed", "must be zero0"),
    Case("deepspeed by a path", _training(deepspeed="/etc/ds.json"), "spec.training.deepspeed"),
    Case("deepspeed by no file", _training(deepspeed="ds.json"), "spec.training.deepspeed", "not among files"),
    Case(
        "deepspeed by another file",
        {"training": {"deepspeed": "ds.json"}, "files": [OTHER_JSON]},
        "spec.training.deepspeed",
        "not among files",
    ),
    Case(
        "more processes than GPUs",
        {"resources": {"gpus": 2, "processesPerNode": 4}},
        "spec.resources.processesPerNode",
        "at most gpus",
    ),
    # checkpoints and validation
    Case(
        "validation with keep 1",
        {"validation": {"splitRatio": "0.01"}, "checkpoints": {"keep": 1}},
        "spec.checkpoints.keep",
        "2 or more",
    ),
    Case(
        "validation data with keep 1",
        {"validation": {"datasets": [{"id": "a/b"}]}, "checkpoints": {"keep": 1}},
        "spec.checkpoints.keep",
        "2 or more",
    ),
    Case(
        "splitRatio and validation data",
        {"validation": {"splitRatio": "0.01", "datasets": [{"id": "a/b"}]}},
        "spec.validation",
        "not both",
    ),
    Case(
        "saveOnlyModel with resume Auto",
        {"checkpoints": {"saveOnlyModel": True, "resume": "Auto"}},
        "spec.checkpoints.saveOnlyModel",
        "resume: Never",
    ),
    Case(
        "saveOnlyModel with resume absent",
        {"checkpoints": {"saveOnlyModel": True}},
        "spec.checkpoints.saveOnlyModel",
        "resume: Never",
    ),
    # starting from another run's checkpoint
    Case("from a run without a name", _from(name=None), "spec.checkpoints.from.sftRunRef.name"),
    Case("from nothing", {"checkpoints": {"from": {"weightsOnly": True}}}, "spec.checkpoints.from.sftRunRef"),
    Case("from a run whose name no run can have", _from(name="qwen2.5"), "spec.checkpoints.from.sftRunRef.name"),
    Case("from step 0", _from(step=0), "spec.checkpoints.from.sftRunRef.step"),
    Case("from itself", _from(name="minimal"), "spec.checkpoints.from.sftRunRef.name", "name another SFTRun"),
    Case(
        "from a checkpoint and from an adapter",
        {**_from(), "model": {"adapters": [{"id": "me/lora"}]}},
        "spec.checkpoints.from",
        "one place",
    ),
    Case(
        "from a checkpoint behind the last step",
        {**_from(step=200), **_training(maxSteps=200)},
        "spec.training.maxSteps",
        "weightsOnly: true",
    ),
    # output
    Case("no output", {"output": None}, "spec.output"),
    Case("empty output", {"output": {"volume": None}}, "spec.output", "exactly one place"),
    Case("output not ephemeral", {"output": {"volume": None, "ephemeral": False}}, "spec.output", "exactly one place"),
    Case("two outputs", {"output": {"ephemeral": True}}, "spec.output", "exactly one place"),
    Case(
        "claim and volume",
        {"output": {"persistentVolumeClaim": {"claimName": "out"}}},
        "spec.output",
        "exactly one place",
    ),
    Case("two nodes on a ReadWriteOnce volume", {"resources": {"nodes": 2}}, "spec.output", "ReadWriteMany"),
    Case(
        "two nodes on a ReadWriteOncePod volume",
        {"resources": {"nodes": 2}, "output": {"volume": {"accessMode": "ReadWriteOncePod"}}},
        "spec.output",
        "ReadWriteMany",
    ),
    Case(
        "two nodes on ephemeral output",
        {"resources": {"nodes": 2}, "output": {"volume": None, "ephemeral": True}},
        "spec.output",
        "ReadWriteMany",
    ),
    # secrets and owned flags
    *(
        Case(f"secret in --{flag}", _arg(flag), "spec.extraArgs[0].name", "a secret must not be a flag")
        for flag in (
            "hub_token",
            "swanlab_token",
            "swanlab_secret",
            "swanlab_webhook_url",
            "api_key",
            "my_api_key",
            "some_token",
            "Some_Token",
            "db_password",
            "client_secret",
            "token",
        )
    ),
    *(
        Case(
            f"--{flag} has a field",
            _arg(flag),
            "spec.extraArgs[0].name",
            f"extraArgs.{flag}: use spec.{instead} instead",
        )
        for flag, instead in (
            ("output_dir", "output"),
            ("add_version", "output"),
            ("resume_from_checkpoint", "checkpoints.resume or checkpoints.from"),
            ("resume_only_model", "checkpoints.from.weightsOnly"),
            ("quant_bits", "tuner.quantization.bits"),
            ("model", "model.id or model.persistentVolumeClaim"),
            ("dataset", "datasets"),
            ("train_type", "tuner.type"),
            ("tuner_type", "tuner.type"),
            ("learning_rate", "training.learningRate"),
            ("bf16", "training.precision"),
            ("attn_impl", "training.attention"),
            ("modules_to_save", "tuner.modulesToSave"),
        )
    ),
    Case("--load_args", _arg("load_args"), "spec.extraArgs[0].name", "set by swiftop, remove it"),
    Case("flag with dashes", _arg("--vit_lr"), "spec.extraArgs[0].name", "without leading dashes"),
    Case("flag with a dash", _arg("vit-lr"), "spec.extraArgs[0].name", "with underscores"),
    Case("flag with two values", _arg("vit_lr", value="1", json="{}"), "spec.extraArgs[0]", "exactly one of value"),
    Case("flag without a value", {"extraArgs": [{"name": "vit_lr"}]}, "spec.extraArgs[0]", "exactly one of value"),
    Case("flag given twice", {"extraArgs": [{"name": "vit_lr", "value": v} for v in "12"]}, "spec.extraArgs"),
    *(
        Case(f"secret in {name}", _env(name), "spec.runtime.env[0].name", "put it into the Secret")
        for name in ("SWANLAB_API_KEY", "MODELSCOPE_API_TOKEN", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD")
    ),
    *(
        Case(f"{name} is ours", _env(name), "spec.runtime.env[0].name", "set by swiftop")
        for name in ("SWIFTOP_PLAN", "NPROC_PER_NODE", "PAI_TRAINING_JOB_ID", "USE_HF")
    ),
    Case("root", {"runtime": {"securityContext": {"runAsUser": 0}}}, "spec.runtime.securityContext.runAsUser"),
    Case(
        "swiftVersion with a patch level", {"runtime": {"swiftVersion": "4.6.0"}}, "spec.runtime.swiftVersion", "as in"
    ),
    Case("swanlab without a project", {"tracking": {"swanlab": {}}}, "spec.tracking.swanlab.project"),
    Case(
        "swanlab offline", {"tracking": {"swanlab": {"project": "a", "mode": "offline"}}}, "spec.tracking.swanlab.mode"
    ),
    Case("affinity of an unknown kind", {"placement": {"affinity": {"nodeAffinty": {}}}}, "spec.placement.affinity"),
    Case("pod patch of something else", {"runtime": {"podPatch": {"template": {}}}}, "spec.runtime.podPatch"),
    Case("pod patch that is a text", {"runtime": {"podPatch": "metadata"}}, "spec.runtime.podPatch"),
    Case("unknown field", _training(maxlength=5), "spec.training.maxlength"),
    # names
    Case("name with a dot", {}, "metadata.name", "use qwen2-5-7b", metadata={"name": "qwen2.5-7b"}),
    Case("name from a digit", {}, "metadata.name", "use x-7b-chat", metadata={"name": "7b-chat"}),
    Case("name with a line break", {}, "metadata.name", metadata={"name": "a\n"}),
    Case("name of 53 characters", {}, "metadata.name", "use a shorter one", metadata={"name": "a" * 53}),
)

ACCEPTED = (
    Case("minimal", {}),
    Case("name of 52 characters", {}, metadata={"name": "a" * 52}),
    Case("name of one character", {}, metadata={"name": "a"}),
    Case("packing with flash_attn", _training(packing=True, **FLASH)),
    Case("packing with flash_attention_3", _training(packing=True, maxLength=10, attention="flash_attention_3")),
    Case("paddingFree needs no maxLength", _training(paddingFree=True, attention="flash_attention_2")),
    Case("packing off needs nothing", _training(packing=False, paddingFree=False)),
    Case("streaming with maxSteps", _training(streaming=True, maxSteps=10)),
    Case(
        "streaming with validation data",
        {"training": {"streaming": True, "maxSteps": 10}, "validation": {"datasets": [{"id": "a/b"}]}},
    ),
    Case("model on a volume", {"model": {"id": None, "persistentVolumeClaim": {"claimName": "m"}, "type": "qwen2"}}),
    Case("adapters", {"model": {"adapters": [{"id": "me/lora"}, {"persistentVolumeClaim": {"claimName": "m"}}]}}),
    Case("dataset on a volume", _dataset(persistentVolumeClaim=CLAIM, sample=5)),
    Case("dataset path with dots", _dataset(persistentVolumeClaim={"claimName": "d", "path": "a..b/v1.2/...jsonl"})),
    Case("dataset in a ConfigMap", _dataset(configMap={"name": "tiny", "key": "sharegpt.jsonl"})),
    Case("dataset by id", _dataset(id="gsm8k", hub="huggingface", subsets=["main"], sample=5000)),
    Case("file without a subset", _dataset(persistentVolumeClaim=CLAIM, subsets=[])),
    Case("dataset at a revision", _dataset(id="a/b", revision="v1.0/beta", subsets=["a"], sample=5)),
    Case(
        "datasets that are uploaded first",
        {
            "datasets": [{"uploadRef": {"name": "chats"}, "sample": 5}, {"id": "a/b"}],
            "validation": {"datasets": [{"uploadRef": {"name": "chats"}}]},
        },
    ),
    *(Case(f"learning rate {r!r}", _training(learningRate=r)) for r in ("1e-4", "2E-5", "0.0001", "1", "1.5e+0")),
    Case("ratios of 0", {"training": {"warmupRatio": "0", "weightDecay": "0"}, "tuner": {"dropout": "0"}}),
    *(
        Case(f"cpu {cpu!r}", {"resources": {"cpu": cpu}})
        for cpu in (8, "8", "500m", "1.5", "0.5", "0.25", "0.005", "10", "100", "1.0", "01")
    ),
    *(Case(f"memory {m!r}", {"resources": {"memory": m}}) for m in ("64Gi", "0.5Gi", "1000000000", "64G", "1e9")),
    *(
        Case(f"{method} with {bits} bits", {"tuner": {"quantization": {"method": method, "bits": bits}}})
        for method, right in (("bnb", (4, 8)), ("hqq", (1, 2, 3, 4, 8)), ("eetq", (8,)), ("quanto", (2, 4, 8)))
        for bits in right
    ),
    Case("modules", {"tuner": {"targetModules": ["all-linear"], "modulesToSave": ["model.embed_tokens", "lm_head"]}}),
    Case("fp32 without a flash attention", _training(precision="fp32", attention="sdpa")),
    Case(
        "sequences divided among GPUs of two nodes",
        {
            "training": {"sequenceParallelSize": 8},
            "resources": {"gpus": 4, "nodes": 2},
            "output": {"volume": {"accessMode": "ReadWriteMany"}},
        },
    ),
    Case("sequences not divided", {"training": {"sequenceParallelSize": 1}, "resources": {"gpus": 0}}),
    Case("hidden file", _dataset(configMap={"name": "tiny", "key": ".train..jsonl"})),
    Case("QLoRA", {"tuner": {"quantization": {"method": "bnb", "bits": 4, "quantType": "nf4", "doubleQuant": True}}}),
    Case("full tuning", {"tuner": {"type": "full"}}),
    Case("deepspeed", {"training": {"deepspeed": "zero3_offload"}, "resources": {"gpus": 8, "processesPerNode": 8}}),
    Case("deepspeed by a file", {"training": {"deepspeed": "ds.json"}, "files": [OTHER_JSON, DS_JSON]}),
    Case(
        "deepspeed by a file on a volume",
        {
            "training": {"deepspeed": "ds.json"},
            "files": [{"persistentVolumeClaim": {"claimName": "conf", "path": "a/ds.json"}}],
        },
    ),
    Case("CPU run", {"resources": {"gpus": 0, "processesPerNode": 2}}),
    Case("model parallel", {"resources": {"gpus": 4, "processesPerNode": 1}}),
    Case("validation with keep 2", {"validation": {"splitRatio": "0.01"}, "checkpoints": {"keep": 2}}),
    Case("empty validation with keep 1", {"validation": {}, "checkpoints": {"keep": 1}}),
    Case("keep 1", {"checkpoints": {"keep": 1}}),
    Case("from the newest checkpoint of a run", _from()),
    Case("from a checkpoint, going on", {**_from(step=200), **_training(maxSteps=201)}),
    Case("from the weights of a late checkpoint", {**_from(step=200, weightsOnly=True), **_training(maxSteps=10)}),
    Case("from a checkpoint without resuming", {"checkpoints": {**_from()["checkpoints"], "resume": "Never"}}),
    Case("suspended from the start", {"suspend": True}),
    Case("not suspended", {"suspend": False}),
    Case(
        "no retries, and everything is deleted at once", {"lifecycle": {"maxRetries": 0, "ttlSecondsAfterFinished": 0}}
    ),
    Case("the longest limits", {"lifecycle": {"maxRetries": 100, "pendingDeadlineSeconds": 2**31 - 1}}),
    Case("the shortest limits", {"lifecycle": {"stallSeconds": 60, "pendingDeadlineSeconds": 1}}),
    Case("saveOnlyModel", {"checkpoints": {"saveOnlyModel": True, "resume": "Never"}}),
    Case("ephemeral output", {"output": {"volume": None, "ephemeral": True}}),
    Case(
        "output on a claim", {"output": {"volume": None, "persistentVolumeClaim": {"claimName": "out", "path": "r/1"}}}
    ),
    Case(
        "two nodes on a shared volume",
        {"resources": {"nodes": 2}, "output": {"volume": {"accessMode": "ReadWriteMany"}}},
    ),
    Case(
        "two nodes on a claim, whose mode nobody sees here",
        {"resources": {"nodes": 2}, "output": {"volume": None, "persistentVolumeClaim": {"claimName": "out"}}},
    ),
    Case("extra flag", _arg("vit_lr", value="1e-5")),
    Case("extra flag with values", _arg("init_weights_targets", values=["embed_tokens", "lm_head"])),
    Case("extra flag with JSON", _arg("gradient_checkpointing_kwargs", json='{"use_reentrant": false}')),
    Case("flags that end like secrets but are none", _arg("max_new_tokens")),
    Case("flags that are merged with ours", _arg("callbacks", values=["early_stop"])),
    Case("registered datasets", _arg("custom_dataset_info", value="/swiftop/files/info.json")),
    Case(
        "environment",
        {"runtime": {"env": [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": "TOKENIZERS_PARALLELISM"}]}},
    ),
    Case(
        "everything around it",
        {
            "cache": {"persistentVolumeClaim": {"claimName": "cache"}},
            "tracking": {
                "swanlab": {
                    "project": "mh-sft",
                    "experimentName": "qwen",
                    "workspace": "team",
                    "mode": "cloud",
                    "host": "http://swanlab.tools:8000",
                    "tags": ["a", "b"],
                    "group": "g",
                },
                "tensorboard": True,
            },
            "credentials": {"secretName": "mine", "hfToken": {"name": "hf", "key": "token"}},
            "placement": {
                "priorityClassName": "high",
                "schedulerName": "volcano",
                "nodeSelector": {"gpu.example.com/model": "h100"},
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}},
            },
            "suspend": True,
            "lifecycle": {
                "maxRetries": 5,
                "activeDeadlineSeconds": 86400,
                "pendingDeadlineSeconds": 3600,
                "stallSeconds": 1800,
                "ttlSecondsAfterFinished": 3600,
            },
            "runtime": {
                "image": "registry.example.com/trainer:4.6@sha256:abc",
                "imagePullPolicy": "IfNotPresent",
                "imagePullSecrets": [{"name": "registry"}],
                "swiftVersion": "4.6",
                "securityContext": {"runAsUser": 1001, "fsGroup": 1001, "supplementalGroups": [5, 6]},
                "podPatch": {"metadata": {"annotations": {"a": "b"}}, "spec": {"terminationGracePeriodSeconds": 600}},
            },
        },
    ),
)
