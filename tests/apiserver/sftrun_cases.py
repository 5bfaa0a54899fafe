"""SFTRuns that are refused or accepted, as patches to the smallest valid one: one table for both guards."""

from __future__ import annotations

from tests.apiserver import sftrun_reference_cases, sftrun_training_cases
from tests.apiserver.cases import Case
from tests.apiserver.sftrun_patches import (
    CLAIM,
    DS_JSON,
    FLASH,
    OTHER_JSON,
    arg,
    case,
    dataset,
    starting_from,
    training,
)

REFUSED: tuple[Case, ...] = (*sftrun_training_cases.REFUSED, *sftrun_reference_cases.REFUSED)

ACCEPTED = (
    case("minimal", {}),
    case("name of 52 characters", {}, metadata={"name": "a" * 52}),
    case("name of one character", {}, metadata={"name": "a"}),
    case("packing with flash_attn", training(packing=True, **FLASH)),
    case("packing with flash_attention_3", training(packing=True, maxLength=10, attention="flash_attention_3")),
    case("paddingFree needs no maxLength", training(paddingFree=True, attention="flash_attention_2")),
    case("packing off needs nothing", training(packing=False, paddingFree=False)),
    *(case(f"acceleration {mode}", training(acceleration=mode)) for mode in ("Auto", "Approximate", "Off")),
    case("acceleration without GPUs", {**training(acceleration="Auto"), "resources": {"gpus": 0}}),
    case("acceleration of full tuning", {**training(acceleration="Auto"), "tuner": {"type": "full"}}),
    case(
        "acceleration of QLoRA",
        {**training(acceleration="Auto"), "tuner": {"quantization": {"method": "bnb", "bits": 4}}},
    ),
    case("Approximate with a rank", {**training(acceleration="Approximate"), "tuner": {"type": "lora", "rank": 16}}),
    case("a whole batch", training(globalBatchSize=32)),
    case(
        "a whole batch over two nodes",
        {
            "training": {"globalBatchSize": 16},
            "resources": {"gpus": 8, "nodes": 2},
            "output": {"volume": {"accessMode": "ReadWriteMany"}},
        },
    ),
    case(
        "a whole batch over groups of GPUs",
        {"training": {"globalBatchSize": 2, "sequenceParallelSize": 4}, "resources": {"gpus": 8}},
    ),
    case("a whole batch of one process", {"training": {"globalBatchSize": 3}, "resources": {"gpus": 0}}),
    case("streaming with maxSteps", training(streaming=True, maxSteps=10)),
    case(
        "streaming with validation data",
        {"training": {"streaming": True, "maxSteps": 10}, "validation": {"datasets": [{"id": "a/b"}]}},
    ),
    case("model on a volume", {"model": {"id": None, "persistentVolumeClaim": {"claimName": "m"}, "type": "qwen2"}}),
    case("adapters", {"model": {"adapters": [{"id": "me/lora"}, {"persistentVolumeClaim": {"claimName": "m"}}]}}),
    case("dataset on a volume", dataset(persistentVolumeClaim=CLAIM, sample=5)),
    case("dataset path with dots", dataset(persistentVolumeClaim={"claimName": "d", "path": "a..b/v1.2/...jsonl"})),
    case("dataset in a ConfigMap", dataset(configMap={"name": "tiny", "key": "sharegpt.jsonl"})),
    case("dataset by id", dataset(id="gsm8k", hub="huggingface", subsets=["main"], sample=5000)),
    case("file without a subset", dataset(persistentVolumeClaim=CLAIM, subsets=[])),
    case("dataset at a revision", dataset(id="a/b", revision="v1.0/beta", subsets=["a"], sample=5)),
    case(
        "datasets that are uploaded first",
        {
            "datasets": [{"uploadRef": {"name": "chats"}, "sample": 5}, {"id": "a/b"}],
            "validation": {"datasets": [{"uploadRef": {"name": "chats"}}]},
        },
    ),
    *(case(f"learning rate {r!r}", training(learningRate=r)) for r in ("1e-4", "2E-5", "0.0001", "1", "1.5e+0")),
    case("ratios of 0", {"training": {"warmupRatio": "0", "weightDecay": "0"}, "tuner": {"dropout": "0"}}),
    *(
        case(f"cpu {cpu!r}", {"resources": {"cpu": cpu}})
        for cpu in (8, "8", "500m", "1.5", "0.5", "0.25", "0.005", "10", "100", "1.0", "01")
    ),
    *(case(f"memory {m!r}", {"resources": {"memory": m}}) for m in ("64Gi", "0.5Gi", "1000000000", "64G", "1e9")),
    *(
        case(f"{method} with {bits} bits", {"tuner": {"quantization": {"method": method, "bits": bits}}})
        for method, right in (("bnb", (4, 8)), ("hqq", (1, 2, 3, 4, 8)), ("eetq", (8,)), ("quanto", (2, 4, 8)))
        for bits in right
    ),
    case("modules", {"tuner": {"targetModules": ["all-linear"], "modulesToSave": ["model.embed_tokens", "lm_head"]}}),
    case("fp32 without a flash attention", training(precision="fp32", attention="sdpa")),
    case(
        "sequences divided among GPUs of two nodes",
        {
            "training": {"sequenceParallelSize": 8},
            "resources": {"gpus": 4, "nodes": 2},
            "output": {"volume": {"accessMode": "ReadWriteMany"}},
        },
    ),
    case("sequences not divided", {"training": {"sequenceParallelSize": 1}, "resources": {"gpus": 0}}),
    case("hidden file", dataset(configMap={"name": "tiny", "key": ".train..jsonl"})),
    case("QLoRA", {"tuner": {"quantization": {"method": "bnb", "bits": 4, "quantType": "nf4", "doubleQuant": True}}}),
    case("full tuning", {"tuner": {"type": "full"}}),
    case("deepspeed", {"training": {"deepspeed": "zero3_offload"}, "resources": {"gpus": 8, "processesPerNode": 8}}),
    case("deepspeed by a file", {"training": {"deepspeed": "ds.json"}, "files": [OTHER_JSON, DS_JSON]}),
    case(
        "deepspeed by a file on a volume",
        {
            "training": {"deepspeed": "ds.json"},
            "files": [{"persistentVolumeClaim": {"claimName": "conf", "path": "a/ds.json"}}],
        },
    ),
    case("CPU run", {"resources": {"gpus": 0, "processesPerNode": 2}}),
    case("model parallel", {"resources": {"gpus": 4, "processesPerNode": 1}}),
    case("validation with keep 1", {"validation": {"splitRatio": "0.01"}, "checkpoints": {"keep": 1}}),
    case("keep 1", {"checkpoints": {"keep": 1}}),
    case("from the newest checkpoint of a run", starting_from()),
    case("from a checkpoint, going on", {**starting_from(step=200), **training(maxSteps=201)}),
    case(
        "from the weights of a late checkpoint", {**starting_from(step=200, weightsOnly=True), **training(maxSteps=10)}
    ),
    case("from a checkpoint without resuming", {"checkpoints": {**starting_from()["checkpoints"], "resume": "Never"}}),
    case("suspended from the start", {"suspend": True}),
    case("not suspended", {"suspend": False}),
    case(
        "no retries, and everything is deleted at once", {"lifecycle": {"maxRetries": 0, "ttlSecondsAfterFinished": 0}}
    ),
    case("the longest limits", {"lifecycle": {"maxRetries": 100, "pendingDeadlineSeconds": 2**31 - 1}}),
    case("the shortest limits", {"lifecycle": {"stallSeconds": 60, "pendingDeadlineSeconds": 1}}),
    case("saveOnlyModel", {"checkpoints": {"saveOnlyModel": True, "resume": "Never"}}),
    case("saveOnlyModel alone", {"checkpoints": {"saveOnlyModel": True}}),
    *(
        case(f"epochs {epochs!r}", training(epochs=epochs))
        for epochs in (1, "1", 10000, "10000", "0.5", "2.25", "0.001")
    ),
    *(
        case(f"steps {steps!r}", {"training": {"evalSteps": steps}, "checkpoints": {"saveSteps": steps}})
        for steps in (1, "500", 1_000_000_000, "1000000000", "0.1", "0.05")
    ),
    case("checkpoints by epochs", {"checkpoints": {"saveStrategy": "epoch"}}),
    *(
        case(f"rows in {key}", {"datasets": [{"configMap": {"name": "c", "key": key}}]})
        for key in ("a.jsonl", "a.json", "a.csv", "a.parquet", "a.arrow", "a.txt", "a.v1.jsonl")
    ),
    *(
        case(f"rows in {path} on a claim", {"datasets": [{"persistentVolumeClaim": {"claimName": "c", "path": path}}]})
        for path in (
            "chats.jsonl",
            "a/b.csv",
            "folder",
            "folder/",
            "my.dataset/",
            "v1.0",
            "data-2.5-beta",
            ".",
            ".hidden",
        )
    ),
    case("GPUs of a claim", {"resources": {"gpus": 2, "gpuClaim": {"resourceClaimTemplateName": "two-gpus"}}}),
    case("certificates of one's own", {"runtime": {"caBundle": {"name": "trust", "key": "ca.crt"}}}),
    case("liger with one GPU per process", {"training": {"liger": True}, "resources": {"gpus": 4}}),
    case(
        "liger on the CPU with two processes",
        {"training": {"liger": True}, "resources": {"gpus": 0, "processesPerNode": 2}},
    ),
    case("no system prompt at all", training(system="")),
    case("rows as plain text", training(useChatTemplate=False)),
    case("experts", training(expertsImplementation="grouped_mm", routerAuxLossCoefficient="0.001")),
    case("a score", training(task={"type": "seq_cls", "numLabels": 1, "problemType": "regression"})),
    case("decisions", training(task={"type": "decision"})),
    case("a folder of a repository", {"model": {"id": "me/models:checkpoint-100"}}),
    case("a folder in a folder of a repository", {"model": {"id": "me/models:v2/checkpoint-100"}}),
    case(
        "who it is in two languages",
        training(
            selfCognition={"name": "小黄", "author": "魔搭", "englishName": "Xiao Huang", "englishAuthor": "ModelScope"}
        ),
    ),
    case("tokenized data alone", {"datasets": [], **arg("cached_dataset", values=["/data/tokenized/train"])}),
    case("tokenized data alone, without a list", {"datasets": None, **arg("cached_dataset", value="/data/t/train")}),
    case("ephemeral output", {"output": {"volume": None, "ephemeral": True}}),
    case(
        "output on a claim", {"output": {"volume": None, "persistentVolumeClaim": {"claimName": "out", "path": "r/1"}}}
    ),
    case(
        "two nodes on a shared volume",
        {"resources": {"nodes": 2}, "output": {"volume": {"accessMode": "ReadWriteMany"}}},
    ),
    case(
        "two nodes on a claim, whose mode nobody sees here",
        {"resources": {"nodes": 2}, "output": {"volume": None, "persistentVolumeClaim": {"claimName": "out"}}},
    ),
    case("extra flag", arg("vit_lr", value="1e-5")),
    case("extra flag with values", arg("init_weights_targets", values=["embed_tokens", "lm_head"])),
    case("extra flag with JSON", arg("gradient_checkpointing_kwargs", json='{"use_reentrant": false}')),
    case("flags that end like secrets but are none", arg("max_new_tokens")),
    case("flags that are merged with ours", arg("callbacks", values=["early_stop"])),
    case("registered datasets", arg("custom_dataset_info", value="/swiftop/files/info.json")),
    case(
        "environment",
        {"runtime": {"env": [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": "TOKENIZERS_PARALLELISM"}]}},
    ),
    case(
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
