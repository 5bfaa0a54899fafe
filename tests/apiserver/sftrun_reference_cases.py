"""SFTRuns that are refused for what they refer to: sources, paths, output, secrets, flags, names."""

from __future__ import annotations

from tests.apiserver.cases import Patch
from tests.apiserver.sftrun_patches import CLAIM, arg, case, dataset, env, training

NFS: Patch = {"name": "data", "nfs": {"server": "a", "path": "/"}}
SCRATCH: Patch = {"name": "scratch", "emptyDir": {"size": "1Gi"}}
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def nested(levels: int) -> Patch:
    """Objects in objects."""
    value: Patch = {"a": "x"}
    for _ in range(levels):
        value = {"a": value}
    return value


REFUSED = (
    # sources
    case("no model source", {"model": {"id": None, "hub": "modelscope"}}, "spec.model", "exactly one of id"),
    case("two model sources", {"model": {"persistentVolumeClaim": CLAIM}}, "spec.model", "exactly one of id"),
    case(
        "revision of a model on a volume",
        {"model": {"id": None, "persistentVolumeClaim": CLAIM, "revision": "v1"}},
        "spec.model.revision",
        "remove revision",
    ),
    case("no datasets", {"datasets": []}, "spec.datasets"),
    case("datasets left out", {"datasets": None}, "spec.datasets"),
    case("dataset without a source", dataset(sample=5), "spec.datasets[0]", "exactly one source"),
    case("dataset of two sources", dataset(id="a/b", persistentVolumeClaim=CLAIM), "spec.datasets[0]", "exactly one"),
    case(
        "dataset of three sources",
        dataset(id="a/b", persistentVolumeClaim=CLAIM, configMap={"name": "a", "key": "b"}),
        "spec.datasets[0]",
        "exactly one",
    ),
    case("hub of a file", dataset(persistentVolumeClaim=CLAIM, hub="huggingface"), "spec.datasets[0]", "belong to"),
    case("subsets of a file", dataset(persistentVolumeClaim=CLAIM, subsets=["a"]), "spec.datasets[0]", "belong to"),
    case("sample of 0 rows", dataset(id="a/b", sample=0), "spec.datasets[0].sample"),
    case("dataset by id and by upload", dataset(id="a/b", uploadRef={"name": "a"}), "spec.datasets[0]", "exactly one"),
    case("upload without a name", dataset(uploadRef={}), "spec.datasets[0].uploadRef.name"),
    case("upload of a name that none has", dataset(uploadRef={"name": "a.b"}), "spec.datasets[0].uploadRef.name"),
    *(
        case(
            f"{member} of an upload", dataset(uploadRef={"name": "a"}, **{member: value}), "spec.datasets[0]", "belong"
        )
        for member, value in (("hub", "modelscope"), ("subsets", ["a"]), ("revision", "v1"))
    ),
    case(
        "revision of a file",
        {"validation": {"datasets": [{"persistentVolumeClaim": CLAIM, "revision": "v1"}]}},
        "spec.validation.datasets[0].revision",
        "belongs to a dataset by id",
    ),
    *(
        case(f"revision {revision!r}", dataset(id="a/b", revision=revision), "spec.datasets[0].revision")
        for revision in ("", "-x", "a#5", "a:b", "a b", "a@b")
    ),
    case("validation dataset without a source", {"validation": {"datasets": [{}]}}, "spec.validation.datasets[0]"),
    case("adapter without a source", {"model": {"adapters": [{}]}}, "spec.model.adapters[0]", "exactly one"),
    case("file without a source", {"files": [{}]}, "spec.files[0]", "exactly one"),
    case(
        "folder in place of a file",
        {"files": [{"persistentVolumeClaim": {"claimName": "a", "path": "b/."}}]},
        "spec.files[0].persistentVolumeClaim.path",
        "name the file",
    ),
    *(
        case(f"key {key!r}", dataset(configMap={"name": "tiny", "key": key}), "spec.datasets[0].configMap.key")
        for key in (".", "..", "..jsonl", "a/b", "a\n")
    ),
    case("two kinds of hub", {"model": {"hub": "github"}}, "spec.model.hub"),
    # paths
    case("absolute path as model id", {"model": {"id": "/models/qwen"}}, "spec.model.id", "use persistentVolumeClaim"),
    case("absolute path as dataset id", dataset(id="/data/x.jsonl"), "spec.datasets[0].id", "persistentVolumeClaim"),
    case("relative path as dataset id", dataset(id="../x.jsonl"), "spec.datasets[0].id", "persistentVolumeClaim"),
    *(
        case(
            f"dataset path {path!r}",
            dataset(persistentVolumeClaim={"claimName": "data", "path": path}),
            "spec.datasets[0].persistentVolumeClaim.path",
            "relative to the root of the volume",
        )
        for path in ("/abs/x.jsonl", "../x.jsonl", "a/../../x.jsonl", "a/..", "..")
    ),
    case(
        "dataset path with the mark of a sample size",
        dataset(persistentVolumeClaim={"claimName": "data", "path": "x.jsonl#5"}),
        "spec.datasets[0].persistentVolumeClaim.path",
        "rename the file",
    ),
    case(
        "dataset claim without a path",
        dataset(persistentVolumeClaim={"claimName": "data"}),
        "spec.datasets[0].persistentVolumeClaim.path",
    ),
    case(
        "absolute output path",
        {"output": {"volume": None, "persistentVolumeClaim": {"claimName": "out", "path": "/runs"}}},
        "spec.output.persistentVolumeClaim.path",
        "relative",
    ),
    case(
        "cache path upwards",
        {"cache": {"persistentVolumeClaim": {"claimName": "cache", "path": "../x"}}},
        "spec.cache.persistentVolumeClaim.path",
        "relative",
    ),
    # output
    case("no output", {"output": None}, "spec.output"),
    case("empty output", {"output": {"volume": None}}, "spec.output", "exactly one place"),
    case("output not ephemeral", {"output": {"volume": None, "ephemeral": False}}, "spec.output", "exactly one place"),
    case("two outputs", {"output": {"ephemeral": True}}, "spec.output", "exactly one place"),
    case(
        "claim and volume",
        {"output": {"persistentVolumeClaim": {"claimName": "out"}}},
        "spec.output",
        "exactly one place",
    ),
    case("two nodes on a ReadWriteOnce volume", {"resources": {"nodes": 2}}, "spec.output", "ReadWriteMany"),
    case(
        "two nodes on a ReadWriteOncePod volume",
        {"resources": {"nodes": 2}, "output": {"volume": {"accessMode": "ReadWriteOncePod"}}},
        "spec.output",
        "ReadWriteMany",
    ),
    case(
        "two nodes on ephemeral output",
        {"resources": {"nodes": 2}, "output": {"volume": None, "ephemeral": True}},
        "spec.output",
        "ReadWriteMany",
    ),
    # secrets and owned flags
    *(
        case(f"secret in --{flag}", arg(flag), "spec.extraArgs[0].name", "a secret must not be a flag")
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
        case(
            f"--{flag} has a field",
            arg(flag),
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
    case("--load_args", arg("load_args"), "spec.extraArgs[0].name", "set by swiftop, remove it"),
    case("flag with dashes", arg("--vit_lr"), "spec.extraArgs[0].name", "without leading dashes"),
    case("flag with a dash", arg("vit-lr"), "spec.extraArgs[0].name", "with underscores"),
    case("flag with two values", arg("vit_lr", value="1", json="{}"), "spec.extraArgs[0]", "exactly one of value"),
    case("flag without a value", {"extraArgs": [{"name": "vit_lr"}]}, "spec.extraArgs[0]", "exactly one of value"),
    case("flag given twice", {"extraArgs": [{"name": "vit_lr", "value": v} for v in "12"]}, "spec.extraArgs"),
    *(
        case(f"secret in {name}", env(name), "spec.runtime.env[0].name", "into the Secret that spec.credentials names")
        for name in ("SWANLAB_API_KEY", "MODELSCOPE_API_TOKEN", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD")
    ),
    *(
        case(f"{name} is ours", env(name), "spec.runtime.env[0].name", "set by swiftop")
        for name in ("SWIFTOP_PLAN", "NPROC_PER_NODE", "PAI_TRAINING_JOB_ID", "USE_HF")
    ),
    case("root", {"runtime": {"securityContext": {"runAsUser": 0}}}, "spec.runtime.securityContext.runAsUser"),
    case(
        "swiftVersion with a patch level", {"runtime": {"swiftVersion": "4.6.0"}}, "spec.runtime.swiftVersion", "as in"
    ),
    case("swanlab without a project", {"tracking": {"swanlab": {}}}, "spec.tracking.swanlab.project"),
    case(
        "swanlab offline", {"tracking": {"swanlab": {"project": "a", "mode": "offline"}}}, "spec.tracking.swanlab.mode"
    ),
    case("affinity of an unknown kind", {"placement": {"affinity": {"nodeAffinty": {}}}}, "spec.placement.affinity"),
    case("pod patch of something else", {"runtime": {"podPatch": {"template": {}}}}, "spec.runtime.podPatch"),
    case("pod patch that is a text", {"runtime": {"podPatch": "metadata"}}, "spec.runtime.podPatch"),
    *(
        case(f"pod patch {name}", {"runtime": {"podPatch": value}}, f"spec.runtime.podPatch{path}")
        for name, path, value in (
            ("with a long text", ".metadata.annotations.a", {"metadata": {"annotations": {"a": "x" * 16_385}}}),
            ("with many keys", ".metadata.labels", {"metadata": {"labels": {f"k{n}": "" for n in range(129)}}}),
            ("with many items", ".spec.tolerations", {"spec": {"tolerations": [{}] * 129}}),
            ("of 300 levels", "", {"spec": {"tolerations": nested(300)}}),
            ("mistyped", ".spec.node_selector", {"spec": {"node_selector": {}}}),
            ("mistyped far below", ".spec.volumes[0].emptyDir.size", {"spec": {"volumes": [SCRATCH]}}),
            ("with a volume of another type", ".spec.volumes[0].nfs", {"spec": {"volumes": [NFS]}}),
            ("with a large number", ".spec.overhead.cpu", {"spec": {"overhead": {"cpu": 2**63}}}),
            ("with a large exponent", ".spec.overhead.cpu", {"spec": {"overhead": {"cpu": 1e21}}}),
            ("with a part of a processor", ".spec.overhead.cpu", {"spec": {"overhead": {"cpu": 0.5}}}),
            ("with a number for a text", ".spec.nodeSelector.a", {"spec": {"nodeSelector": {"a": 1}}}),
        )
    ),
    *(
        case(f"affinity {name}", {"placement": {"affinity": value}}, f"spec.placement.affinity{path}")
        for name, path, value in (
            ("of 300 levels", "", {"nodeAffinity": nested(300)}),
            ("with a megabyte of lists", "", {"nodeAffinity": {"x": [[]] * 300_000}}),
            ("with a text for a list", f".podAffinity.{PREFERRED}", {"podAffinity": {PREFERRED: "zone"}}),
        )
    ),
    case("unknown field", training(maxlength=5), "spec.training.maxlength"),
    # names
    case("name with a dot", {}, "metadata.name", "use qwen2-5-7b", metadata={"name": "qwen2.5-7b"}),
    case("name from a digit", {}, "metadata.name", "use x-7b-chat", metadata={"name": "7b-chat"}),
    case("name with a line break", {}, "metadata.name", metadata={"name": "a\n"}),
    case("name of 53 characters", {}, "metadata.name", "use a shorter one", metadata={"name": "a" * 53}),
)
