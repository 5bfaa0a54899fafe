"""The command by field: what each typed field renders, on CPU and GPU, on one node and several."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from swiftop.api.v1alpha1.sft_args import FIELD_OF_FLAG
from swiftop.api.v1alpha1.sftrun import SFTRunSpec
from swiftop.kinds.sftrun.command import Rendered
from swiftop.swift.argv import Launcher, threads
from swiftop.swift.paths import Identity
from swiftop.swift.releases import SUPPORTED, table
from tests.support.objects import problems_of
from tests.support.objects import rendered_of as render
from tests.support.objects import spec_of as spec
from tests.unit.kinds.sftrun.samples import UID
from tests.unit.kinds.sftrun.specs import SPECS

RUN = Identity(name="demo", uid=UID, namespace="team")
TWO_LANGUAGES = {"name": "小黄", "author": "魔搭", "englishName": "Xiao Huang", "englishAuthor": "ModelScope"}
LAUNCHER = ("python", "-m", "torch.distributed.run", "--nproc_per_node")


def rendered(version: str = "4.6", **members: Any) -> Rendered:
    return render(spec(**members), table=table(version), identity=RUN)


def command(version: str = "4.6", **members: Any) -> tuple[str, ...]:
    return rendered(version, **members).command


def values(words: tuple[str, ...], flag: str) -> list[str] | None:
    """Values of a flag, None without it."""
    if f"--{flag}" not in words:
        return None
    rest = words[words.index(f"--{flag}") + 1 :]
    end = next((i for i, word in enumerate(rest) if word.startswith("--")), len(rest))
    return list(rest[:end])


def env(**members: Any) -> dict[str, str]:
    return dict(rendered(**members).env)


def test_the_smallest_spec() -> None:
    assert command() == (
        *("python", "-m", "swift.cli.sft", "--model", "Qwen/Qwen2.5-0.5B-Instruct", "--tuner_type", "lora"),
        *("--dataset", "AI-ModelScope/alpaca-gpt4-data-zh", "--output_dir", "/swiftop/output/demo-0f3a1c9e"),
        *("--report_to", "none", "--add_version", "false", "--check_model", "false", "--callbacks", "graceful_exit"),
    )


@pytest.mark.parametrize(
    ("field", "value", "flag", "words"),
    [
        ("epochs", 2, "num_train_epochs", ["2"]),
        ("maxSteps", 14, "max_steps", ["14"]),
        ("learningRate", "1e-4", "learning_rate", ["1e-4"]),
        ("maxLength", 2048, "max_length", ["2048"]),
        ("perDeviceBatchSize", 8, "per_device_train_batch_size", ["8"]),
        ("perDeviceEvalBatchSize", 4, "per_device_eval_batch_size", ["4"]),
        ("gradientAccumulationSteps", 3, "gradient_accumulation_steps", ["3"]),
        ("gradientCheckpointing", False, "gradient_checkpointing", ["false"]),
        ("attention", "sdpa", "attn_impl", ["sdpa"]),
        ("deepspeed", "zero3_offload", "deepspeed", ["zero3_offload"]),
        ("sequenceParallelSize", 2, "sequence_parallel_size", ["2"]),
        ("liger", True, "use_liger_kernel", ["true"]),
        ("streaming", True, "streaming", ["true"]),
        ("columns", {"问": "query", "a": "response"}, "columns", ['{"a": "response", "问": "query"}']),
        ("template", "chatml", "template", ["chatml"]),
        ("system", "你是一个助手 \\n", "system", ["你是一个助手 \\n"]),
        ("system", "", "system", [""]),
        ("epochs", "0.5", "num_train_epochs", ["0.5"]),
        ("useChatTemplate", False, "use_chat_template", ["false"]),
        ("expertsImplementation", "grouped_mm", "experts_impl", ["grouped_mm"]),
        ("routerAuxLossCoefficient", "0.001", "router_aux_loss_coef", ["0.001"]),
        ("task", {"type": "decision"}, "task_type", ["decision"]),
        ("agentTemplate", "hermes", "agent_template", ["hermes"]),
        ("lossScale", "last_round", "loss_scale", ["last_round"]),
        ("task", {"type": "seq_cls", "numLabels": 2}, "num_labels", ["2"]),
        ("task", {"type": "embedding", "lossType": "infonce"}, "loss_type", ["infonce"]),
        ("task", {"type": "seq_cls", "problemType": "regression"}, "problem_type", ["regression"]),
        ("freeze", {"vit": False}, "freeze_vit", ["false"]),
        ("freeze", {"aligner": False}, "freeze_aligner", ["false"]),
        ("freeze", {"llm": True}, "freeze_llm", ["true"]),
        ("selfCognition", {"name": "小黄", "author": "魔搭"}, "model_name", ["小黄"]),
        ("selfCognition", {"name": "小黄", "author": "魔搭"}, "model_author", ["魔搭"]),
        ("selfCognition", TWO_LANGUAGES, "model_name", ["小黄", "Xiao Huang"]),
        ("selfCognition", TWO_LANGUAGES, "model_author", ["魔搭", "ModelScope"]),
        ("dataloaderWorkers", 0, "dataloader_num_workers", ["0"]),
        ("datasetProcesses", 4, "dataset_num_proc", ["4"]),
        ("loadFromCacheFile", True, "load_from_cache_file", ["true"]),
        ("dropLast", True, "dataloader_drop_last", ["true"]),
        ("loggingSteps", 1, "logging_steps", ["1"]),
        ("evalStrategy", "epoch", "eval_strategy", ["epoch"]),
        ("evalSteps", 50, "eval_steps", ["50"]),
        ("evalSteps", "0.1", "eval_steps", ["0.1"]),
        ("seed", 0, "seed", ["0"]),
        ("warmupRatio", "0.03", "warmup_ratio", ["0.03"]),
        ("weightDecay", "0.1", "weight_decay", ["0.1"]),
        ("scheduler", "linear", "lr_scheduler_type", ["linear"]),
    ],
)
@pytest.mark.parametrize("version", SUPPORTED)
def test_training_fields(field: str, value: Any, flag: str, words: list[str], version: str) -> None:
    assert values(command(version, training={field: value}), flag) == words
    assert values(command(version), flag) is None


@pytest.mark.parametrize("version", SUPPORTED)
@pytest.mark.parametrize(
    ("resources", "training", "passes"),
    [
        ({"gpus": 1}, {}, "32"),
        ({"gpus": 4}, {}, "8"),
        ({"gpus": 8, "nodes": 2}, {}, "2"),
        ({"gpus": 8, "processesPerNode": 1}, {}, "32"),
        ({"gpus": 8}, {"sequenceParallelSize": 4}, "16"),
        ({"gpus": 1}, {"acceleration": "Off"}, "32"),
        ({"gpus": 0}, {}, "32"),
    ],
)
def test_a_global_batch_is_one_sample_a_pass_and_as_many_passes_as_it_takes(
    resources: dict[str, Any], training: dict[str, Any], passes: str, version: str
) -> None:
    found = command(version, resources=resources, training={"globalBatchSize": 32, **training})
    assert values(found, "per_device_train_batch_size") == ["1"]
    assert values(found, "gradient_accumulation_steps") == [passes]


def test_the_command_is_the_same_with_and_without_acceleration() -> None:
    commands = {command("4.6", training={"acceleration": mode}) for mode in ("Auto", "Approximate", "Off")}
    assert commands == {command("4.6")}


def test_every_flag_that_the_schema_calls_ours_is_rendered_or_kept_from_ms_swift() -> None:
    """The deny list of extraArgs and the renderer must not drift apart."""
    rendered = {"train_type"}  # before 4.0
    everything = {flag for flag, field in FIELD_OF_FLAG.items() if field}
    specs = [
        spec(
            model={"id": "a/b", "hub": "huggingface", "revision": "main", "type": "qwen2", "adapters": [{"id": "a/c"}]},
            validation={"splitRatio": "0.1"},
            tuner={
                "rank": 8,
                "alpha": 32,
                "dropout": "0",
                "targetModules": ["q"],
                "modulesToSave": ["e"],
                "quantization": {
                    "method": "bnb",
                    "bits": 4,
                    "computeType": "float16",
                    "quantType": "nf4",
                    "doubleQuant": False,
                },
            },
            training={
                "precision": "fp16",
                "packing": True,
                "attention": "flash_attn",
                "maxLength": 1,
                "epochs": 1,
                "maxSteps": 1,
                "learningRate": "1",
                "perDeviceBatchSize": 1,
                "perDeviceEvalBatchSize": 1,
                "gradientAccumulationSteps": 1,
                "gradientCheckpointing": True,
                "paddingFree": True,
                "deepspeed": "zero1",
                "sequenceParallelSize": 1,
                "liger": True,
                "streaming": False,
                "columns": {"a": "b"},
                "template": "t",
                "system": "s",
                "agentTemplate": "a",
                "lossScale": "l",
                "task": {"type": "seq_cls", "numLabels": 2, "problemType": "regression", "lossType": "l"},
                "freeze": {"vit": True, "aligner": True, "llm": True},
                "selfCognition": {"name": "n", "author": "a"},
                "dataloaderWorkers": 1,
                "datasetProcesses": 1,
                "loadFromCacheFile": True,
                "dropLast": True,
                "loggingSteps": 1,
                "evalStrategy": "steps",
                "evalSteps": 1,
                "seed": 1,
                "warmupRatio": "0",
                "weightDecay": "0",
                "scheduler": "linear",
                "useChatTemplate": True,
                "expertsImplementation": "eager",
                "routerAuxLossCoefficient": "0",
            },
            checkpoints={"saveSteps": 1, "saveStrategy": "steps", "keep": 2, "saveOnlyModel": True, "resume": "Never"},
            tracking={"swanlab": {"project": "p", "workspace": "w"}},
        ),
        spec(validation={"datasets": [{"id": "a/v"}]}),
    ]
    for one in specs:
        rendered |= set(render(one, table=table("4.6"), identity=RUN).flags)
    by_the_runner_or_nobody = {"resume_from_checkpoint", "resume_only_model", "logging_dir"}
    assert everything - rendered == by_the_runner_or_nobody


@pytest.mark.parametrize(
    ("precision", "gpus", "expected"),
    [
        (None, 1, {}),
        ("bf16", 1, {"torch_dtype": "bfloat16", "bf16": "true"}),
        ("fp16", 1, {"torch_dtype": "float16", "fp16": "true", "bf16": "false"}),
        ("fp32", 1, {"torch_dtype": "float32", "fp16": "false", "bf16": "false"}),
        (None, 0, {"torch_dtype": "float32", "fp16": "false", "bf16": "false", "use_cpu": "true"}),
        ("bf16", 0, {"torch_dtype": "bfloat16", "bf16": "true", "use_cpu": "true"}),
    ],
)
def test_precision_is_whole(precision: str | None, gpus: int, expected: dict[str, str]) -> None:
    words = command(training={"precision": precision} if precision else {}, resources={"gpus": gpus})
    for flag in ("torch_dtype", "fp16", "bf16", "use_cpu"):
        assert values(words, flag) == ([expected[flag]] if flag in expected else None), flag


def test_memory_of_a_gpu_is_not_cut_into_pieces() -> None:
    assert env(resources={"gpus": 1})["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"
    own = {"env": [{"name": "PYTORCH_ALLOC_CONF", "value": "expandable_segments:False"}]}
    assert "PYTORCH_CUDA_ALLOC_CONF" not in env(resources={"gpus": 1}, runtime=own)
    assert "PYTORCH_CUDA_ALLOC_CONF" not in env(resources={"gpus": 0})


def test_full_tuning_in_fp16_keeps_its_weights_in_fp32() -> None:
    words = command(training={"precision": "fp16"}, tuner={"type": "full"})
    assert [values(words, flag) for flag in ("torch_dtype", "fp16", "bf16")] == [["float32"], ["true"], ["false"]]


def test_a_run_on_the_cpu() -> None:
    words = command(resources={"gpus": 0, "processesPerNode": 2}, training={"dataloaderWorkers": 2})
    assert words[:6] == (*LAUNCHER, "2", "-m")
    assert values(words, "ddp_backend") == ["gloo"]
    assert values(words, "dataloader_num_workers") == ["2"]
    alone = command(resources={"gpus": 0})
    assert alone[:3] == ("python", "-m", "swift.cli.sft")
    assert values(alone, "ddp_backend") is None
    assert values(alone, "dataloader_num_workers") == ["0"]


def test_gpus_on_one_node_get_a_process_each_unless_told_otherwise() -> None:
    assert command(resources={"gpus": 8})[:7] == (*LAUNCHER, "8", "-m", "swift.cli.sft")
    assert command(resources={"gpus": 8, "processesPerNode": 4})[4] == "4"
    assert command(resources={"gpus": 8, "processesPerNode": 1})[:3] == ("python", "-m", "swift.cli.sft")


@pytest.mark.parametrize("gpus", [1, 8])
def test_what_shards_has_the_launcher_even_for_one_process(gpus: int) -> None:
    """DeepSpeed asks for LOCAL_RANK, and without it for MPI."""
    fsdp = [{"name": "fsdp", "value": "fsdp2"}]
    for words in (
        command(resources={"gpus": gpus}, training={"deepspeed": "zero2"}),
        command(resources={"gpus": gpus}, extraArgs=fsdp),
    ):
        assert words[:7] == (*LAUNCHER, str(gpus), "-m", "swift.cli.sft")


def test_several_nodes_meet_at_placeholders_that_the_runner_fills() -> None:
    words = command(resources={"gpus": 1, "nodes": 2}, output={"persistentVolumeClaim": {"claimName": "rwx"}})
    assert words[:15] == (
        *LAUNCHER, "1", "--nnodes", "2", "--node_rank", "$(NODE_RANK)", "--master_addr", "$(MASTER_ADDR)",
        "--master_port", "29500", "-m", "swift.cli.sft",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("model", "dataset", "expected"),
    [
        ({"id": "a/m"}, {"id": "a/d"}, "a/d"),
        ({"id": "a/m"}, {"id": "a/d", "hub": "modelscope"}, "a/d"),
        ({"id": "a/m"}, {"id": "a/d", "hub": "huggingface"}, "HF::a/d"),
        ({"id": "a/m", "hub": "huggingface"}, {"id": "a/d"}, "a/d"),
        ({"id": "a/m", "hub": "huggingface"}, {"id": "a/d", "hub": "modelscope"}, "MS::a/d"),
        ({"id": "a/m"}, {"id": "a/d", "subsets": ["x", "y"], "sample": 5000}, "a/d:x/y#5000"),
        ({"id": "a/m"}, {"persistentVolumeClaim": {"claimName": "c", "path": "./p//f.jsonl"}}, "/data/c/p/f.jsonl"),
        ({"id": "a/m"}, {"configMap": {"name": "cm", "key": "f.jsonl"}, "sample": 9}, "/swiftop/datasets/cm/f.jsonl#9"),
    ],
)
def test_dataset_sources(model: dict[str, Any], dataset: dict[str, Any], expected: str) -> None:
    words = command(model=model, datasets=[dataset])
    assert values(words, "dataset") == [expected]
    assert values(words, "use_hf") == (["true"] if model.get("hub") == "huggingface" else None)


def test_a_model_and_adapters_on_a_volume() -> None:
    claim = {"claimName": "models", "path": "base"}
    words = command(
        model={
            "persistentVolumeClaim": claim,
            "type": "qwen2",
            "adapters": [{"id": "a/b"}, {"persistentVolumeClaim": {"claimName": "out"}}],
        }
    )
    assert values(words, "model") == ["/models/models/base"]
    assert values(words, "model_type") == ["qwen2"]
    assert values(words, "adapters") == ["a/b", "/models/out"]


def test_names_of_files_become_their_paths() -> None:
    files = [
        {"configMap": {"name": "x", "key": "ds.json"}},
        {"persistentVolumeClaim": {"claimName": "c", "path": "p/sys.txt"}},
    ]
    words = command(files=files, training={"deepspeed": "ds.json", "system": "sys.txt"})
    assert values(words, "deepspeed") == ["/swiftop/files/ds.json"]
    assert values(words, "system") == ["/swiftop/files/sys.txt"]


def test_output_and_cache_paths() -> None:
    claim = {"persistentVolumeClaim": {"claimName": "c", "path": "team/a"}}
    words = command(output=claim)
    assert values(words, "output_dir") == ["/swiftop/output/team/a/demo-0f3a1c9e"]
    assert env(cache=claim, resources={"gpus": 0}) == {
        "MODELSCOPE_CACHE": "/swiftop/cache/team/a/modelscope",
        "HF_HOME": "/swiftop/cache/team/a/huggingface",
    }


@pytest.mark.parametrize("version", SUPPORTED)
def test_a_cache_is_used_for_tokenized_data_unless_told_otherwise(version: str) -> None:
    cache = {"persistentVolumeClaim": {"claimName": "c"}}
    assert values(command(version), "load_from_cache_file") is None
    assert values(command(version, cache=cache), "load_from_cache_file") == ["true"]
    refused = command(version, cache=cache, training={"loadFromCacheFile": False})
    assert values(refused, "load_from_cache_file") == ["false"]


def test_extra_arguments_merge_into_our_lists_and_replace_our_values() -> None:
    words = command(
        extraArgs=[
            {"name": "callbacks", "values": ["early_stop", "graceful_exit"]},
            {"name": "report_to", "value": "wandb"},
            {"name": "check_model", "value": "true"},
            {"name": "vit_lr", "value": "1e-5"},
            {"name": "new_special_tokens", "values": ["<a>", "<b>"]},
            {"name": "gradient_checkpointing_kwargs", "json": '{"use_reentrant": false}'},
        ]
    )
    assert values(words, "callbacks") == ["graceful_exit", "early_stop"]
    assert values(words, "report_to") == ["wandb"]
    assert values(words, "check_model") == ["true"]
    assert values(words, "vit_lr") == ["1e-5"]
    assert values(words, "new_special_tokens") == ["<a>", "<b>"]
    assert values(words, "gradient_checkpointing_kwargs") == ['{"use_reentrant": false}']
    assert len([w for w in words if w == "--check_model"]) == 1


def test_a_value_that_starts_with_a_dash_is_not_taken_for_a_flag() -> None:
    assert "--system=- be brief" in command(training={"system": "- be brief"})


@pytest.mark.parametrize(
    ("resources", "launcher"),
    [
        ({"gpus": 1}, Launcher()),
        ({"gpus": 8, "processesPerNode": 1}, Launcher()),
        ({"gpus": 8}, Launcher(processes=8, elastic=True)),
        ({"gpus": 1, "nodes": 2}, Launcher(nodes=2, elastic=True)),
    ],
)
def test_what_the_command_says_is_told_without_reading_its_words(resources: Any, launcher: Launcher) -> None:
    extra = [{"name": "logging_strategy", "value": "epoch"}]
    result = rendered(resources=resources, training={"maxSteps": 7}, extraArgs=extra)
    assert result.launcher == launcher
    assert result.launcher.world_size == launcher.processes * launcher.nodes
    assert (result.flags["max_steps"], result.flags["logging_strategy"]) == (("7",), ("epoch",))


@pytest.mark.parametrize(
    ("cpu", "processes", "expected"), [("8", 1, 8), ("8", 3, 2), ("500m", 1, 1), ("7.5", 2, 3), ("2500m", 1, 2)]
)
def test_threads_follow_the_limit(cpu: str, processes: int, expected: int) -> None:
    assert threads(cpu, processes) == expected
    assert env(resources={"gpus": 0, "cpu": cpu, "processesPerNode": processes})["OMP_NUM_THREADS"] == str(expected)


@settings(max_examples=150, deadline=None)
@given(SPECS)
def test_every_rendered_flag_exists_and_none_is_a_secret(any_spec: SFTRunSpec) -> None:
    for version in SUPPORTED:
        if problems_of(any_spec, version):  # attention and packing of one version only, a random callback, ...
            continue
        first = render(any_spec, table=table(version), identity=RUN)
        assert first == render(SFTRunSpec.model_validate(any_spec.model_dump()), table=table(version), identity=RUN)
        words = first.command[first.command.index("swift.cli.sft") + 1 :]
        known = table(version).flags
        names = [w[2:].split("=", 1)[0] for w in words if w.startswith("--")]
        assert len(names) == len(set(names))
        for name in names:
            assert name in known, name
            assert name == "new_special_tokens" or not name.endswith(("token", "secret", "api_key", "webhook_url"))


@settings(max_examples=100, deadline=None)
@given(SPECS)
def test_the_generated_specs_are_accepted(any_spec: SFTRunSpec) -> None:
    """Otherwise the property above would hold of nothing."""
    assert problems_of(any_spec, "4.6") == []


V1 = {"id": "me/data", "revision": "v1"}
NAMED = '[{"dataset_name": "me/data@v1", "ms_dataset_id": "me/data", "ms_revision": "v1"}]'


@pytest.mark.parametrize("version", SUPPORTED)
def test_a_revision_is_registered_under_a_name_of_its_own(version: str) -> None:
    words = command(version, datasets=[{**V1, "subsets": ["a", "b"], "sample": 5}, {"id": "me/other"}])
    assert values(words, "dataset") == ["me/data@v1:a/b#5", "me/other"]
    assert values(words, "custom_dataset_info") == [NAMED]


def test_two_revisions_of_one_dataset_are_two_names_each_registered_once() -> None:
    datasets = [V1, {**V1, "sample": 9}]
    words = command(datasets=datasets, validation={"datasets": [{**V1, "revision": "v2"}, V1]})
    assert values(words, "dataset") == ["me/data@v1", "me/data@v1#9"]
    assert values(words, "val_dataset") == ["me/data@v2", "me/data@v1"]
    assert values(words, "custom_dataset_info") == [NAMED, NAMED.replace("v1", "v2")]


def test_one_name_may_be_on_both_hubs() -> None:
    words = command(datasets=[V1, {**V1, "hub": "huggingface"}])
    assert values(words, "dataset") == ["me/data@v1", "HF::me/data@v1"]
    both = '"ms_revision": "v1", "hf_dataset_id": "me/data", "hf_revision": "v1"}]'
    assert values(words, "custom_dataset_info") == [NAMED.replace('"ms_revision": "v1"}]', both)]


def test_what_a_user_registers_stays_beside_ours() -> None:
    theirs = {"name": "custom_dataset_info", "values": ["/swiftop/files/info.json"]}
    assert values(command(datasets=[V1], extraArgs=[theirs]), "custom_dataset_info") == [NAMED, *theirs["values"]]
    assert values(command(extraArgs=[theirs]), "custom_dataset_info") == theirs["values"]


def test_tokenized_data_alone() -> None:
    words = command(datasets=[], extraArgs=[{"name": "cached_dataset", "values": ["/data/tokenized/train"]}])
    assert values(words, "dataset") is None
    assert values(words, "cached_dataset") == ["/data/tokenized/train"]


def test_a_folder_of_a_repository() -> None:
    assert values(command(model={"id": "me/models:checkpoint-100"}), "model") == ["me/models:checkpoint-100"]


def test_checkpoints_by_shares_and_epochs() -> None:
    assert values(command(checkpoints={"saveSteps": "0.1"}), "save_steps") == ["0.1"]
    assert values(command(checkpoints={"saveStrategy": "epoch"}), "save_strategy") == ["epoch"]
