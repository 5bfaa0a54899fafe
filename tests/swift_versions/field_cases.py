"""Each typed field once that the matrix of test_acceptance does not turn, and what ms-swift is to make of it.

The second part of a case names attributes of the real argument object: for most fields the flag with the value that the
spec gave, for the others what it means there. What only another library can answer for is met by the words that tell
that it is not installed: ms-swift itself had no objection then.
"""

from __future__ import annotations

from typing import Any

Case = tuple[dict[str, Any], dict[str, Any]]  # members of the spec, what ms-swift is to make of them


def tiny(claim: str = "tiny", **more: Any) -> dict[str, Any]:
    """The tiny model on a claim; accept.py writes it there."""
    return {"persistentVolumeClaim": {"claimName": claim, "path": "Qwen2.5-0.5B-Instruct"}, **more}


def _training(meaning: dict[str, Any], **fields: Any) -> Case:
    return {"training": fields}, meaning


def _tuner(meaning: dict[str, Any], **fields: Any) -> Case:
    return {"tuner": fields}, meaning


def _quantization(config: str, method: str, bits: int, **more: Any) -> Case:
    return {"tuner": {"quantization": {"method": method, "bits": bits, **more}}}, {"quantization": config}


_SUBSETS = {"id": "me/data", "hub": "huggingface", "subsets": ["a", "b"], "sample": 5}
_SWANLAB = {"project": "p", "experimentName": "e", "workspace": "w", "mode": "cloud"}
_ADAPTER = {"persistentVolumeClaim": {"claimName": "tiny", "path": "adapter"}}

CASES: tuple[Case, ...] = (
    # model and data
    ({"model": tiny(type="qwen2")}, {"model_type": "qwen2"}),
    ({"model": tiny(hub="huggingface")}, {"use_hf": True}),
    ({"model": tiny(adapters=[_ADAPTER])}, {"adapters": ["/tmp/models/tiny/adapter"]}),
    ({"datasets": [_SUBSETS, {"id": "me/more"}]}, {"dataset": ["HF::me/data:a/b#5", "me/more"]}),
    (
        {"datasets": [{"id": "me/data", "revision": "v1", "sample": 5}, {"id": "me/own", "revision": "0" * 40}]},
        {
            "dataset": ["me/data@v1#5", f"me/own@{'0' * 40}"],
            "custom_dataset_info": [
                '[{"dataset_name": "me/data@v1", "ms_dataset_id": "me/data", "ms_revision": "v1"}]',
                f'[{{"dataset_name": "me/own@{"0" * 40}", "ms_dataset_id": "me/own", "ms_revision": "{"0" * 40}"}}]',
            ],
        },
    ),
    ({"validation": {"splitRatio": "0.1"}}, {"split_dataset_ratio": 0.1}),
    ({"validation": {"datasets": [{"id": "me/eval"}]}}, {"val_dataset": ["me/eval"]}),
    # tuner
    _tuner({"lora_rank": 16, "lora_alpha": 64, "lora_dropout": 0.1}, rank=16, alpha=64, dropout="0.1"),
    _tuner({"target_modules": ["q_proj", "v_proj"]}, targetModules=["q_proj", "v_proj"]),
    _tuner({"modules_to_save": ["embed_tokens"]}, modulesToSave=["embed_tokens"]),
    _quantization("BitsAndBytesConfig", "bnb", 4, computeType="bfloat16", quantType="fp4", doubleQuant=False),
    _quantization("BitsAndBytesConfig", "bnb", 8),
    ({"tuner": {"quantization": {"method": "hqq", "bits": 3}}}, {"error": "A valid HQQ version"}),
    *(_quantization("QuantoConfig", "quanto", bits) for bits in (2, 4, 8)),
    _quantization("EetqConfig", "eetq", 8),
    # training
    _training({"num_train_epochs": 2.0}, epochs=2),
    _training({"num_train_epochs": 0.5}, epochs="0.5"),
    _training({"max_steps": 14}, maxSteps=14),
    _training({"learning_rate": 2e-4}, learningRate="2e-4"),
    _training({"max_length": 512}, maxLength=512),
    _training({"per_device_train_batch_size": 8, "per_device_eval_batch_size": 4}, perDeviceBatchSize=8,
              perDeviceEvalBatchSize=4),
    _training({"gradient_accumulation_steps": 3}, gradientAccumulationSteps=3),
    _training({"per_device_train_batch_size": 1, "gradient_accumulation_steps": 32}, globalBatchSize=32),
    *(_training({}, acceleration=mode) for mode in ("Auto", "Approximate", "Off")),
    _training({"gradient_checkpointing": False}, gradientCheckpointing=False),
    *(_training({"attn_impl": name}, attention=name) for name in ("sdpa", "eager", "flex_attention")),
    _training({"sequence_parallel_size": 1}, sequenceParallelSize=1),
    _training({"error": "pip install liger-kernel"}, liger=True),
    _training({"streaming": True, "max_steps": 10}, streaming=True, maxSteps=10),
    _training({"columns": {"question": "query"}}, columns={"question": "query"}),
    _training({"template": "chatml"}, template="chatml"),
    _training({"system": ""}, system=""),
    _training({"use_chat_template": False}, useChatTemplate=False),
    _training({"router_aux_loss_coef": 0.001}, routerAuxLossCoefficient="0.001"),
    _training({"system": "- 你好"}, system="- 你好"),
    _training({"system": "Be brief."}, system="prompt.txt"),
    _training({"agent_template": "hermes"}, agentTemplate="hermes"),
    _training({"loss_scale": "last_round"}, lossScale="last_round"),
    _training({"task_type": "seq_cls", "num_labels": 2, "problem_type": "single_label_classification"},
              task={"type": "seq_cls", "numLabels": 2, "problemType": "single_label_classification"}),
    *(_training({"task_type": name}, task={"type": name})
      for name in ("causal_lm", "embedding", "reranker", "generative_reranker")),
    _training({"loss_type": "cosine_similarity"}, task={"type": "embedding", "lossType": "cosine_similarity"}),
    _training({"freeze_vit": False, "freeze_aligner": False, "freeze_llm": True},
              freeze={"vit": False, "aligner": False, "llm": True}),
    _training({"model_name": ["小黄"], "model_author": ["-魔搭"]}, selfCognition={"name": "小黄", "author": "-魔搭"}),
    _training({"model_name": ["小黄", "Xiao Huang"], "model_author": ["魔搭", "ModelScope"]},
              selfCognition={"name": "小黄", "author": "魔搭", "englishName": "Xiao Huang",
                             "englishAuthor": "ModelScope"}),
    _training({"dataloader_num_workers": 2}, dataloaderWorkers=2),
    _training({"dataset_num_proc": 4}, datasetProcesses=4),
    _training({"load_from_cache_file": True}, loadFromCacheFile=True),
    _training({"dataloader_drop_last": True}, dropLast=True),
    _training({"logging_steps": 1.0}, loggingSteps=1),
    _training({"seed": 7}, seed=7),
    _training({"warmup_ratio": 0.03, "weight_decay": 0.2}, warmupRatio="0.03", weightDecay="0.2"),
    *(_training({"lr_scheduler_type": name}, scheduler=name) for name in ("cosine", "linear", "constant")),
    *(({"training": {"evalStrategy": name, "evalSteps": 50}, "validation": {"splitRatio": "0.1"}},
       {"eval_strategy": name, "eval_steps": steps}) for name, steps in (("no", None), ("steps", 50), ("epoch", 50))),
    # around it
    ({"checkpoints": {"saveSteps": 10, "keep": 3}}, {"save_steps": 10.0, "save_total_limit": 3}),
    ({"checkpoints": {"saveSteps": "0.1"}, "training": {"evalSteps": "0.1"}, "validation": {"splitRatio": "0.1"}},
     {"save_steps": 0.1, "eval_steps": 0.1}),
    ({"checkpoints": {"saveStrategy": "epoch"}}, {"save_strategy": "epoch"}),
    ({"checkpoints": {"saveOnlyModel": True}}, {"save_only_model": True}),
    ({"datasets": [], "extraArgs": [{"name": "cached_dataset", "value": "/data/tokenized/train"}]},
     {"cached_dataset": ["/data/tokenized/train"]}),
    ({"tracking": {"tensorboard": True}}, {"report_to": ["tensorboard"]}),
    ({"tracking": {"swanlab": _SWANLAB}}, {"report_to": ["swanlab"], "swanlab_project": "p", "swanlab_mode": "cloud",
                                           "swanlab_exp_name": "e", "swanlab_workspace": "w"}),
    ({"tracking": {}}, {"report_to": ["none"]}),
    ({"extraArgs": [{"name": "gradient_checkpointing_kwargs", "json": '{"use_reentrant": false}'}]},
     {"gradient_checkpointing_kwargs": '{"use_reentrant": false}'}),
)  # fmt: skip
OF_4_6: tuple[Case, ...] = (
    _training({"experts_impl": "eager"}, expertsImplementation="eager"),
    _training({"task_type": "decision"}, task={"type": "decision"}),
)
"""What earlier releases have no flag or no word for."""
