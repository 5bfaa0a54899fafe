"""A hypothesis strategy over every typed field of a run."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import strategies as st

from swiftop.api.v1alpha1.sftrun import SFTRunSpec

_number = st.integers(1, 1000)
_flag = st.booleans()
_word = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)


def _is_module(name: str) -> bool:
    several = name.lower() in ("all", "auto", "default")
    return not name.startswith("-") and not re.search(r"[\s,^$*+?|()\[\]\\]", name) and not several


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


_claim = st.fixed_dictionaries({"claimName": st.just("claim"), "path": st.sampled_from(["a", "a/b.jsonl"])})
_dataset = st.one_of(
    st.fixed_dictionaries(
        {"id": st.just("me/data")},
        optional={
            "hub": st.sampled_from(["modelscope", "huggingface"]),
            "subsets": st.just(["a", "b"]),
            "sample": _number,
        },
    ),
    st.fixed_dictionaries({"id": st.just("me/pinned"), "revision": st.sampled_from(["v1", "0" * 40])}),
    st.fixed_dictionaries({"persistentVolumeClaim": _claim}),
    st.fixed_dictionaries({"configMap": st.just({"name": "cm", "key": "k.jsonl"})}),
)
_tuner = st.one_of(
    _some(
        type=st.sampled_from(["lora", "adalora", "vera"]),
        rank=_number,
        alpha=_number,
        dropout=st.just("0.1"),
        targetModules=st.lists(_word.filter(_is_module), min_size=1, max_size=3),
        modulesToSave=st.just(["lm_head"]),
        quantization=st.sampled_from(
            [
                {"method": "bnb", "bits": 4, "quantType": "nf4", "doubleQuant": True, "computeType": "bfloat16"},
                {"method": "hqq", "bits": 3},
                {"method": "eetq", "bits": 8},
            ]
        ),
    ),
    st.just({"type": "full"}),
)
_training = _some(
    epochs=_number,
    maxSteps=_number,
    learningRate=st.sampled_from(["1e-4", "0.0002"]),
    maxLength=_number,
    perDeviceBatchSize=_number,
    perDeviceEvalBatchSize=_number,
    gradientAccumulationSteps=_number,
    globalBatchSize=_number,
    acceleration=st.sampled_from(["Auto", "Approximate", "Off"]),
    precision=st.sampled_from(["bf16", "fp16", "fp32"]),
    gradientCheckpointing=_flag,
    packing=_flag,
    paddingFree=_flag,
    attention=st.sampled_from(["sdpa", "eager", "flash_attn", "flash_attention_2", "flash_attention_3"]),
    deepspeed=st.sampled_from(["zero0", "zero2_offload", "zero3", "ds.json"]),
    sequenceParallelSize=_number,
    liger=_flag,
    streaming=_flag,
    columns=st.dictionaries(_word, _word, max_size=3),
    template=st.sampled_from(["chatml", "qwen2_5"]),
    system=_word.filter(lambda text: not text.endswith(".txt")),
    agentTemplate=st.sampled_from(["hermes", "react_en"]),
    lossScale=st.sampled_from(["default", "last_round", "all", "hermes"]),
    task=st.just({"type": "seq_cls", "numLabels": 2, "problemType": "regression", "lossType": "cosine_similarity"}),
    freeze=st.just({"vit": True, "aligner": False, "llm": True}),
    selfCognition=st.just({"name": "小黄", "author": "魔搭"}),
    dataloaderWorkers=_number,
    datasetProcesses=_number,
    loadFromCacheFile=_flag,
    dropLast=_flag,
    loggingSteps=_number,
    evalStrategy=st.sampled_from(["no", "steps", "epoch"]),
    evalSteps=_number,
    seed=_number,
    warmupRatio=st.just("0.03"),
    weightDecay=st.just("0.1"),
    scheduler=st.just("cosine"),
)
_tracking = _some(
    tensorboard=_flag,
    swanlab=st.fixed_dictionaries(
        {"project": _word},
        optional={
            "experimentName": _word,
            "workspace": _word,
            "mode": st.sampled_from(["cloud", "local"]),
            "host": st.just("http://swanlab.tools:8000/"),
            "tags": st.just(["a", "b"]),
            "group": _word,
        },
    ),
)
_EXTRA: list[dict[str, Any]] = [
    {"name": "vit_lr", "value": "1e-5"},
    {"name": "check_model", "value": "true"},
    {"name": "report_to", "value": "wandb"},
    {"name": "new_special_tokens", "values": ["<a>", "<b>"]},
    {"name": "gradient_checkpointing_kwargs", "json": '{"use_reentrant": false}'},
    {"name": "external_plugins", "values": ["/opt/plugin.py"]},
]
_extra = st.lists(st.sampled_from(_EXTRA), unique_by=lambda arg: arg["name"])


def _with_gpus(spec: dict[str, Any]) -> dict[str, Any]:
    """eetq has no kernels for the CPU."""
    quantization = spec.get("tuner", {}).get("quantization", {})
    if quantization.get("method") == "eetq":
        spec["resources"]["gpus"] = max(spec["resources"]["gpus"], 1)
    return spec


SPECS = (
    st.fixed_dictionaries(
        {
            "model": st.one_of(
                st.fixed_dictionaries(
                    {"id": st.just("Qwen/Qwen2.5-7B")},
                    optional={"hub": st.sampled_from(["modelscope", "huggingface"]), "revision": st.just("main")},
                ),
                st.fixed_dictionaries({"persistentVolumeClaim": _claim, "type": st.just("qwen2")}),
            ),
            "datasets": st.lists(_dataset, min_size=1, max_size=3),
            "output": st.one_of(st.just({"ephemeral": True}), st.fixed_dictionaries({"persistentVolumeClaim": _claim})),
            "resources": st.fixed_dictionaries(
                {"gpus": st.integers(0, 8)},
                optional={
                    "nodes": st.integers(1, 4),
                    "processesPerNode": st.integers(1, 8),
                    "cpu": st.sampled_from(["1", "500m", "7.5", 16]),
                },
            ),
            "files": st.just([{"configMap": {"name": "files", "key": "ds.json"}}]),
        },
        optional={
            "tuner": _tuner,
            "training": _training,
            "tracking": _tracking,
            "validation": st.one_of(
                st.just({"splitRatio": "0.01"}),
                st.fixed_dictionaries({"datasets": st.lists(_dataset, min_size=1, max_size=3)}),
            ),
            "checkpoints": st.just({"saveSteps": 10, "keep": 2, "saveOnlyModel": True, "resume": "Never"}),
            "cache": st.fixed_dictionaries({"persistentVolumeClaim": _claim}),
            "extraArgs": _extra,
        },
    )
    .map(_with_gpus)
    .map(SFTRunSpec.model_validate)
)
