"""Ends of trainings as they are printed, for the tests of their causes and for the figures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from swiftop.runner import causes
from swiftop.runner.classify import EndedChild, classify_failure

FAILED = EndedChild(exit_code=1)
_FOLDER = Path(__file__).parents[1] / "unit" / "runner"
_TEXTS = [_FOLDER / f"ends_of_{which}.txt" for which in ("runs", "reported_runs", "rare_runs")]


class Case(NamedTuple):
    """One end."""

    title: str
    reason: str
    text: str
    log: str


def read() -> Iterator[Case]:
    """The cases of the files."""
    whole = "".join(path.read_text() for path in _TEXTS)
    for case in re.split(r"^== ", whole, flags=re.M)[1:]:
        first, _, log = case.partition("\n")
        title, _, expected = first.rpartition(" -> ")
        reason, _, text = expected.partition(', "')
        yield Case(title, reason, text.removesuffix('"'), log)


CASES = list(read())

# Where the message is of no use, the frames alone decide.
FILES = [
    ("swift/dataset/preprocessor/core.py", "prepare_dataset", "DatasetFormat"),
    ("swift/llm/dataset/preprocessor/core.py", "prepare_dataset", "DatasetFormat"),
    ("swift/dataset/packing.py", "create_packed_idx", "DatasetFormat"),
    ("swift/dataset/indexed_dataset.py", "__getitem__", "DatasetFormat"),
    ("datasets/arrow_dataset.py", "_map_single", "DatasetFormat"),
    ("datasets/iterable_dataset.py", "__iter__", "DatasetFormat"),
    ("datasets/load.py", "dataset_module_factory", "DatasetNotFound"),
    ("swift/template/template_inputs.py", "from_dict", "DatasetFormat"),
    ("swift/llm/template/base.py", "_encode_truncated", "DatasetFormat"),
    ("swift/agent_template/hermes.py", "_format_tools", "DatasetFormat"),
    ("swift/arguments/tuner_args.py", "__post_init__", "InvalidArguments"),
    ("swift/llm/argument/train_args.py", "__post_init__", "InvalidArguments"),
    ("swift/trainers/arguments.py", "__post_init__", "InvalidArguments"),
    ("transformers/training_args.py", "__post_init__", "InvalidArguments"),
    ("transformers/optimization.py", "get_scheduler", "InvalidArguments"),
    ("transformers/integrations/deepspeed.py", "deepspeed_init", "InvalidArguments"),
    ("swift/callbacks/lisa.py", "__init__", "InvalidArguments"),
    ("swift/plugin/metric.py", "compute_acc", "InvalidArguments"),
    ("swift/optimizers/galore.py", "create_optimizer", "InvalidArguments"),
    ("swift/model/register.py", "get_model_processor", "ModelUnreadable"),
    ("swift/llm/model/model/qwen.py", "get_model_tokenizer_qwen_vl", "ModelUnreadable"),
    ("transformers/modeling_utils.py", "from_pretrained", "ModelUnreadable"),
    ("transformers/core_model_loading.py", "convert_and_load_state_dict_in_model", "ModelUnreadable"),
    ("transformers/tokenization_utils_base.py", "from_pretrained", "ModelUnreadable"),
    ("transformers/image_processing_base.py", "from_pretrained", "ModelUnreadable"),
    ("swift/tuners/mapping.py", "get_swift_model", "TunerMismatch"),
    ("swift/tuner_plugin/ia3.py", "prepare_model", "TunerMismatch"),
    ("peft/mapping_func.py", "get_peft_model", "TunerMismatch"),
    ("peft/tuners/tuners_utils.py", "inject_adapter", "TunerMismatch"),
    ("swanlab/sdk/internal/run.py", "start", "TrackerFailed"),
    ("huggingface_hub/_snapshot_download.py", "snapshot_download", "HubUnreachable"),
    ("modelscope_hub/api.py", "get", "HubUnreachable"),
    ("deepspeed/ops/adam/cpu_adam.py", "__init__", "CompilerMissing"),
    ("transformers/trainer.py", "training_step", "TrainingFailed"),
    ("swift/trainers/seq2seq_trainer.py", "compute_loss", "TrainingFailed"),
    ("accelerate/accelerator.py", "backward", "TrainingFailed"),
    ("torch/autograd/graph.py", "_engine_run_backward", "TrainingFailed"),
    ("torch/distributed/distributed_c10d.py", "init_process_group", "CollectiveFailed"),
]
OUTER = (("swift/cli/sft.py", "<module>"), ("swift/pipelines/base.py", "main"), ("swift/pipelines/train/sft.py", "run"))


def traceback(frames: list[tuple[str, str]], last: str) -> str:
    """What Python prints."""
    lines = [
        f'  File "/opt/x/lib/python3.11/site-packages/{file}", line 1, in {name}\n    f()' for file, name in frames
    ]
    return "\n".join(["Traceback (most recent call last):", *lines, last, ""])


def logs() -> list[str]:
    """All ends above, in these words and without a message of any use."""
    found = [case.log for case in CASES]
    found += [traceback([*OUTER, (file, function)], "KeyError: 'xyz'") for file, function, _ in FILES]
    return found


def share_of_unknown() -> float:
    """Of these ends."""
    every = logs()
    return sum(classify_failure(FAILED, log).cause is causes.UNKNOWN for log in every) / len(every)
