"""What an exception means by the place that raised it, for messages that no pattern knows. Pure.

The innermost frame that belongs to somebody decides: rows are read inside of the trainer's loop as well, and a model is
loaded inside of the parsing of arguments. Frames of the standard library, of pyarrow or torch belong to nobody.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from . import causes, image, machine, trackers, training
from .ends import EndClass
from .exceptions import Frame
from .hub import causes as hub

_S = r"/swift/(?:llm/)?"  # ms-swift 3.x has most of its packages below swift/llm
_NOT_FORWARD = r"^(?!.*(forward|__call__|generate|wrapper|_wrapped)).*$"  # what else these files do is to prepare


@dataclass(frozen=True)
class Place:
    """Code that tells a cause: its file, and where these are given its function, its line and the exception."""

    file: str
    cause: EndClass
    field: str = ""  # of the spec, that the message names
    function: str = ""
    code: str = ""
    error: str = ""

    def holds(self, frame: Frame, text: str) -> bool:
        """Whether the frame is this place."""
        return (
            re.search(self.file, frame.file) is not None
            and (not self.function or re.search(self.function, frame.function) is not None)
            and (not self.code or re.search(self.code, frame.code) is not None)
            and (not self.error or re.search(self.error, text) is not None)
        )


def _argument(field: str, file: str, *, function: str = "", code: str = "", error: str = "") -> Place:
    return Place(file, causes.INVALID_ARGUMENTS, field, function, code, error)


_ANY = r"/swift/(?!lib/)"  # and not an environment of that name
_REGISTRIES = (
    _argument("interleave_prob in extraArgs", "/", error=r"'?a'? and '?p'? must have same size"),
    _argument("training.task.lossType", _ANY, code=r"loss_map\b|LOSS_MAPPING\["),
    _argument("training.lossScale", _ANY, code=r"loss_scale_map\["),
    _argument("training.agentTemplate", _ANY, code=r"agent_template(_map|s)\["),
    _argument("training.template", _ANY, code=r"TEMPLATE_MAPPING\["),
    _argument("model.type", _ANY, code=r"MODEL_MAPPING\[|MODEL_ARCH_MAPPING\["),
    _argument("tuner.type", _ANY, code=r"(tuners_map|extra_tuners|SWIFT_MAPPING)\["),
    _argument("callbacks in extraArgs", _ANY, code=r"callbacks?_(map|mapping)\["),
    _argument("eval_metric in extraArgs", _ANY, code=r"(eval_metrics_map|METRIC_MAPPING)\["),
    _argument("optimizer in extraArgs", _ANY, code=r"optimizers_map\["),
    _argument("tuner.type", _S + r"(pipelines/)?train/tuner\.py", error=r"tuner_type|train_type"),
    _argument("training.task.lossType", _ANY, function=r"loss_func"),
    _argument("eval_metric in extraArgs", _ANY, function=r"^get_metric$|eval_metric|compute_metrics_func"),
    _argument("training.lossScale", r"/swift/(plugin/)?loss_scale/"),
    _argument("training.task.lossType", r"/swift/(plugin/loss\.py|loss/)"),
    _argument("eval_metric in extraArgs", r"/sklearn/metrics/|/swift/(plugin/metric\.py|metrics/)"),
    _argument("optimizer in extraArgs", r"/swift/(plugin/optimizer\.py|optimizers/|trainers/optimizers/)"),
    _argument("callbacks in extraArgs", r"/swift/(plugin/callback\.py|callbacks/|llm/train/callback\.py)"),
    _argument("training.agentTemplate", r"/swift/(plugin/)?agent_template/", function=r"^__init__$|<module>"),
    _argument("training.template", _S + r"template/(register|template_meta)\.py"),
)
_DATA = (
    Place(_S + r"(pipelines/)?train/sft\.py", causes.DATASET_EMPTY, function=r"^_(show|stat)_dataset$"),
    Place(_S + r"dataset/|-packages/datasets/|\.\.\./datasets/", causes.DATASET_EMPTY, error=r"^StopIteration"),
    Place(_S + r"dataset/", causes.DATASET_EMPTY, error=r"^AssertionError:?\s*$"),
    Place(_S + r"dataset/(dataset_syntax|register|media)\.py", causes.DATASET_NOT_FOUND),
    Place(_S + r"dataset/loader\.py", causes.DATASET_NOT_FOUND, function=r"repo|hub|_load_dataset_mapping|subset"),
    Place(_S + r"dataset/", causes.DATASET_FORMAT),
    Place(r"[/-](packages/)?datasets/(load|data_files|download)\b", causes.DATASET_NOT_FOUND),
    Place(r"/modelscope/msdatasets/", causes.DATASET_NOT_FOUND),
    Place(r"(-packages|\.\.\.)/datasets/", causes.DATASET_FORMAT),
    Place(_S + r"template/|/swift/(plugin/)?agent_template/", causes.DATASET_FORMAT, function=_NOT_FORWARD),
    Place(r"-packages/jinja2/", causes.DATASET_FORMAT),
    Place(r"-packages/(PIL|decord|av|librosa|soundfile|cv2|qwen_vl_utils|torchcodec)/", causes.DATASET_FORMAT),
    Place(
        _S + r"(pipelines/)?train/sft\.py",
        causes.DATASET_FORMAT,
        function=r"dataset",
    ),
    Place(_S + r"(data_loader\.py|dataloader/)", causes.DATASET_FORMAT),
)
_SAVING = r"save_(pretrained|model|checkpoint|file|state)|^_save|^save$"
_LIBRARIES = r"/(transformers|safetensors|peft|accelerate|torch|deepspeed|swift)/(?!lib/)"
_LOADING = r"from_pretrained|get_config_dict|from_dict|^__init__$|from_file|load|convert|get_class"
_SAVED = Place(_LIBRARIES, training.TRAINING_FAILED, "saving a checkpoint", function=_SAVING)
_RESUMED = Place(
    r"/(transformers/trainer|deepspeed/|accelerate/|swift/trainers/|transformers/trainer_callback)",
    causes.SOURCE_CHECKPOINT_UNFIT,
    function=r"^_?load_(from_checkpoint|from_json|optimizer|rng_state|scaler|state|checkpoint|scheduler)|"
    r"_load_(from_checkpoint|optimizer|rng|scaler|scheduler|checkpoint)",
)
_OF_A_CHECKPOINT = (training.MODEL_UNREADABLE, training.TUNER_MISMATCH)
_MODEL = (
    _SAVED,
    _argument("training.attention", r"/transformers/", function=r"attn_impl|_check_and_enable|autoset_attn|can_disp"),
    Place(
        r"/transformers/models/auto/", training.ARCHITECTURE_UNKNOWN, error=r"^(KeyError|AttributeError|ImportError)"
    ),
    Place(r"/transformers/(models/auto/|modeling_utils|configuration_utils)", training.MODEL_UNREADABLE),
    Place(r"/transformers/(core_model_loading|utils/hub)", training.MODEL_UNREADABLE),
    Place(r"/transformers/(dynamic_module_utils|convert_slow_tokenizer|modeling_gguf)", training.MODEL_UNREADABLE),
    Place(
        r"/transformers/(tokenization|processing_|image_processing|video_processing|feature_extraction|generation/conf)",
        training.MODEL_UNREADABLE,
        function=_LOADING,
    ),
    _argument(
        "tuner.quantization",
        r"/transformers/(quantizers/|integrations/(bitsandbytes|awq|hqq|eetq|quanto|fp8))",
        function=_NOT_FORWARD,
    ),
    Place(r"/(safetensors|gguf)/", training.MODEL_UNREADABLE),
    Place(r"/(tokenizers|sentencepiece|tiktoken)/", training.MODEL_UNREADABLE, function=_LOADING + "|Load"),
    Place(r"/accelerate/(big_modeling|utils/modeling)", training.MODEL_UNREADABLE),
    Place(r"/vllm/model_executor/(models|model_loader)/", training.MODEL_UNREADABLE, function=r"load|weights"),
    Place(_S + r"model/", training.MODEL_UNREADABLE, function=_NOT_FORWARD),
    Place(
        r"/modules/transformers_modules/", training.MODEL_UNREADABLE, function=r"^__init__$|<module>|from_pretrained"
    ),
    Place(
        _S + r"(pipelines/)?train/sft\.py", training.MODEL_UNREADABLE, function=r"^_prepare_model_tokenizer$|processor"
    ),
)
_TUNER = (
    Place(_S + r"(pipelines/)?train/tuner\.py", training.TUNER_MISMATCH),
    Place(r"/swift/(tuners/|tuner_plugin/|plugin/tuner\.py)", training.TUNER_MISMATCH, function=_NOT_FORWARD),
    Place(r"/peft/", training.TUNER_MISMATCH, function=_NOT_FORWARD),
)
_REFUSED = r"^(ValueError|AssertionError|NotImplementedError)"
_PREPARING = r"init|validate|wrap|shard"
_ARGUMENTS = (
    _argument("", _S + r"arguments?/"),
    _argument("", r"/swift/trainers/(rlhf_)?arguments\.py"),
    _argument("", r"/transformers/(training_args|hf_argparser)|/argparse\.py$"),
    _argument("", _S + r"(pipelines/)?base\.py|/swift/utils/", function=r"parse_args|check_json|parse_to_dict"),
    _argument("training.template", _S + r"(pipelines/)?train/sft\.py", function=r"^_prepare_template$"),
    _argument("training.scheduler", r"/transformers/optimization\.py"),
    _argument("training.scheduler", r"/transformers/trainer\.py", function=r"^create_scheduler$"),
    _argument("optimizer or optim in extraArgs", r"/(transformers|swift)/", function=r"optimizer_cls_and_kwargs"),
    _argument("training.deepspeed", r"/transformers/integrations/deepspeed\.py|/deepspeed/runtime/(zero/)?config"),
    _argument("training.deepspeed", r"/deepspeed/(__init__\.py|runtime/engine\.py)", function=r"initialize|^__init__$"),
    _argument("training.deepspeed", r"/deepspeed/runtime/config_utils|/accelerate/utils/deepspeed\.py"),
    _argument("fsdp in extraArgs", r"/accelerate/utils/(fsdp_utils|dataclasses)\.py"),
    _argument("", r"/transformers/trainer\.py", function=r"^__init__$"),
    _argument("", r"/(swift/(rlhf_)?trainers|trl/trainer)/\w+\.py", function=r"^__init__$", error=_REFUSED),
    _argument("", _S + r"(pipelines/)?train/(kto|rlhf)\.py", function=r"prepare|check|kwargs", error=_REFUSED),
    _argument("", r"/accelerate/(data_loader|accelerator|state)\.py", function=r"prepare|^__init__$", error=_REFUSED),
    _argument("", r"/swift/utils/env\.py", error=_REFUSED),
    _argument("", r"/vllm/(config/|engine/arg_utils)"),
    _argument("sequence_parallel_size in extraArgs", r"/swift/(trainers/)?sequence_parallel/", error=_REFUSED),
    _argument("fsdp in extraArgs", r"/torch/distributed/(fsdp|_composable)/", function=_PREPARING, error=_REFUSED),
    # The trainer is told of these by torch in words of its own: the field is what helps.
    _argument("ddp_find_unused_parameters in extraArgs", "/", error=r"Expected to have finished reduction"),
    _argument(
        "use_reentrant: false of gradient_checkpointing_kwargs in extraArgs",
        "/",
        error=r"Expected to mark a variable ready only once|marked as ready twice|CheckpointError: ",
    ),
    _argument(
        "nothing is left to train, see tuner and what is frozen",
        "/",
        error=r"element 0 of tensors does not require grad|optimizer got an empty parameter list",
    ),
)
_PLUGIN = Place(r"^/swiftop/files/", training.PLUGIN_FAILED)
_OTHERS = (
    _PLUGIN,
    Place(r"/huggingface_hub/dataclasses", training.MODEL_UNREADABLE),
    Place(r"/(awq|gptqmodel|auto_gptq|optimum/gptq)/", causes.QUANTIZATION_UNSUPPORTED, function=_NOT_FORWARD),
    Place(r"/bitsandbytes/(functional|backends)", causes.QUANTIZATION_UNSUPPORTED, function=r"quantize"),
    Place(r"/bitsandbytes/(cextension|cuda_setup)|/torchcodec/_internally", image.PACKAGE_BROKEN),
    Place(r"/(swanlab|wandb|mlflow|comet_ml|neptune|clearml|trackio)/", trackers.FAILED),
    Place(r"/(modelscope|modelscope_hub|huggingface_hub)/", hub.HUB_UNREACHABLE),
    Place(r"/deepspeed/ops/|/torch/utils/cpp_extension", machine.COMPILER_MISSING),
    _RESUMED,
    Place(r"/torch/distributed/(elastic|run|launcher|rendezvous|distributed_c10d)", causes.COLLECTIVE_FAILED),
    Place(r"/triton/(runtime|compiler|backends)/|/torch/_inductor/", machine.CUDA_FAILED),
)
_LOOP = (
    Place(r"/transformers/(trainer|trainer_\w+|models/|integrations/|modeling_\w+|utils/)", training.TRAINING_FAILED),
    Place(r"/swift/(llm/)?(trainers|sequence_parallel|ray|utils|model|loss)/", training.TRAINING_FAILED),
    Place(r"/(accelerate|trl|deepspeed|liger_kernel|flash_attn|apex|bitsandbytes)/", training.TRAINING_FAILED),
    Place(r"/torch/(optim|autograd|nn|utils/data|amp|_dynamo|_tensor|cuda)", training.TRAINING_FAILED),
    Place(_S + r"(pipelines/)?train/\w+\.py", training.TRAINING_FAILED, function=r"^train$|trainer|_save"),
    Place(r"/(swift/tuners|peft)/", training.TRAINING_FAILED),
)
_MODEL_FORWARD = Place(
    r"/transformers/models/|/transformers_modules/|/peft/", training.TRAINING_FAILED, function=r"^(forward|__call__)$"
)
_UNNAMED = Place(  # what an import that failed before would have brought
    r"-packages/(transformers|accelerate|peft|trl|datasets|deepspeed)/",
    image.PACKAGE_BROKEN,
    error=r"^NameError: name '\w+' is not defined",
)
_PLACES = (*_OTHERS, *_REGISTRIES, *_DATA, *_MODEL, *_TUNER, *_ARGUMENTS)
_PASSED_THROUGH = re.compile(r"/(swanlab|wandb|mlflow|comet_ml)/|/(modelscope|modelscope_hub|huggingface_hub)/")


def place(frames: Sequence[Frame], text: str) -> Optional[Place]:
    """The place that decides, of the innermost frame that belongs to one; the trainer's loop only without a better.

    A plugin that is imported, and a checkpoint that is saved or loaded, own all that they call. A model's forward pass
    is nobody's fault who only calls it.
    """
    if any(_PLUGIN.holds(frame, text) and frame.function == "<module>" for frame in frames):
        return _PLUGIN
    if frames and _UNNAMED.holds(frames[-1], text):
        return _UNNAMED
    found = _innermost(_PLACES, frames[_forward_pass(frames) :], text) or _innermost(_OTHERS, frames, text)
    if found is not None and found.cause in _OF_A_CHECKPOINT:
        found = next((whole for whole in (_SAVED, _RESUMED) if _innermost((whole,), frames, text)), found)
    return found or _innermost(_LOOP, frames, text)


def _forward_pass(frames: Sequence[Frame]) -> int:
    """Where the innermost part of the model was called; 0 where none was."""
    return max((at for at, frame in enumerate(frames) if _MODEL_FORWARD.holds(frame, "")), default=0)


def resumes(frames: Sequence[Frame]) -> bool:
    """Whether the trainer was loading the checkpoint that it goes on from."""
    return _innermost((_RESUMED,), frames, "") is not None


def imported_by_plugin(frames: Sequence[Frame]) -> bool:
    """Whether a plugin's own line raised it."""
    return bool(frames) and _PLUGIN.holds(frames[-1], "")


def _innermost(places: Sequence[Place], frames: Sequence[Frame], text: str) -> Optional[Place]:
    for frame in reversed(frames):
        for one in places:
            if one.holds(frame, text):
                return one
    return None


def asked_by(frames: Sequence[Frame]) -> str:
    """Whose client made a request: ``tracker``, ``hub``, or nobody's that is known."""
    for frame in reversed(frames):
        found = _PASSED_THROUGH.search(frame.file)
        if found:
            return "tracker" if found.group(1) else "hub"
    return ""
