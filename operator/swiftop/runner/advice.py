"""What to do about an end of an export, an upload or a server, where ``causes`` speaks of a training's fields.

One row a reason. A reason that is not here says the same of all work.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import causes, image
from .ends import EndClass
from .hub import causes as hub

EXPORT, UPLOAD, SERVE = "export", "upload", "serve"
_VALID = "Put a valid MODELSCOPE_API_TOKEN or HF_TOKEN into the credentials Secret, or into that of {own}"
_HUB = (
    "The hub does not answer: check DNS, proxy and NetworkPolicy, or use a mirror (MODELSCOPE_ENDPOINT, HF_ENDPOINT in "
    "runtime.env)."
)
_NOT_FINITE = (
    "The model computes numbers that are not finite: set dtype: bfloat16 or float32, and check that the training of "
    "its weights had a finite loss."
)

# The same of both, or one text for an export and one for an upload.
_ADVICE: Mapping[EndClass, tuple[str, ...]] = {
    causes.CUDA_OUT_OF_MEMORY: ("Use GPUs with more memory or more of them (resources.gpus), or none to merge.",),
    causes.SHARED_MEMORY_EXHAUSTED: ("Raise resources.sharedMemory.",),
    causes.HOST_OUT_OF_MEMORY: (
        "Raise resources.memory: a merge holds the weights, and the verification may hold them in float32.",
        "Raise resources.memory.",
    ),
    image.FLASH_ATTENTION_MISSING: ("Use an image with flash-attn for its torch and CUDA.",),
    image.DEEPSPEED_MISSING: ("Use an image that has the deepspeed package.",),
    image.PACKAGE_MISSING: ("Use an image that has the package.",),
    image.PRECISION_UNSUPPORTED: ("Set dtype to a type that the GPU knows, or use no GPU (resources.gpus: 0).",),
    causes.DISK_FULL: (
        "Free or enlarge the output volume (and the cache): the result is as large as the model in its dtype.",
        "Free or enlarge the cache, or the disk of the node.",
    ),
    causes.OUTPUT_OCCUPIED: ("The output directory holds the data of another object: choose another path or name.",),
    causes.OUTPUT_UNREADABLE: (
        "Look at the output volume: swiftop-run.json and swiftop-export.json in the object's directory tell what is "
        "completed. Remove a damaged one only when it may be made and published again.",
    ),
    causes.DATASET_NOT_FOUND: (
        "Check the dataset's id and its hub, or the path in its claim.",
        "Check source: the path in its claim, or the key of its ConfigMap.",
    ),
    causes.DATASET_EMPTY: ("The file has no rows: check source.",),
    causes.DATASET_FORMAT: ("Each line must be one JSON object with messages, conversations, or question and answer.",),
    hub.MODEL_NOT_FOUND: (
        "Check the id, hub and revision of source, or source.base of an adapter on a volume; a folder whose model type "
        "is not clear needs source.type.",
        "Check tokenizer.model and tokenizer.hub.",
    ),
    hub.HUB_AUTH_FAILED: (
        _VALID.format(own="push[].tokenSecret") + ", and accept the licence of a gated model on its page.",
        _VALID.format(own="destination.tokenSecret") + ".",
    ),
    hub.HUB_UNREACHABLE: (
        _HUB + " What is completed on the output is not done again.",
        _HUB,
    ),
    causes.INVALID_ARGUMENTS: (
        "ms-swift refuses an argument: compare status.resolved.command with the flags of the version in the image, and "
        "set runtime.swiftVersion to it.",
    ),
    causes.COLLECTIVE_FAILED: ("A connection broke off: check the node's network, proxy and NetworkPolicy.",),
    causes.SECRET_MISSING: ("Add the named key to the credentials Secret, or name one by tokenSecret of the target.",),
    causes.LOSS_NAN: (_NOT_FINITE,),
    causes.SOURCE_CHECKPOINT_MISSING: (
        "Check source: there has to be a complete checkpoint, adapter or model in that folder of the volume.",
    ),
    causes.SOURCE_CHECKPOINT_UNFIT: (
        "A file of the checkpoint is missing: check source, and what writes to its volume.",
    ),
    causes.QUANTIZATION_UNSUPPORTED: (
        "The method cannot quantize this model, or not on this GPU: choose another quantization.method (bnb takes "
        "nearly every model, fp8 needs a GPU of compute capability 8.9 as H100 or L40S), or export it without "
        "quantization.",
    ),
}

_SERVING: Mapping[EndClass, str] = {
    causes.CUDA_OUT_OF_MEMORY: "Use GPUs with more memory or more of them (resources.gpus), or lower maxModelLength; "
    "when the engine has no memory for its cache raise gpuMemoryUtilization, else lower it.",
    causes.SHARED_MEMORY_EXHAUSTED: "Raise resources.sharedMemory.",
    causes.HOST_OUT_OF_MEMORY: "Raise resources.memory: it holds the libraries, and without GPUs the weights in dtype.",
    image.FLASH_ATTENTION_MISSING: "Use an image with flash-attn for its torch and CUDA, or choose another attention "
    "by attn_impl in engineArgs.",
    image.DEEPSPEED_MISSING: "Use an image that has the deepspeed package.",
    image.PACKAGE_MISSING: "Use an image that has the package (runtime.image), choose an engine that the image has, "
    "or leave out what needs it in engineArgs.",
    image.PRECISION_UNSUPPORTED: "Set dtype to a type that the GPU knows: float16 before Ampere, float32 without one.",
    causes.VOLUME_NOT_WRITABLE: "Let the cache belong to the pod's user: set runtime.securityContext (runAsUser, "
    "fsGroup), or choose a claim that is writable and not ReadOnlyMany.",
    causes.DISK_FULL: "Free or enlarge the cache, or the disk of the node.",
    hub.HUB_UNREACHABLE: _HUB + " Or take the model from a claim.",
    causes.INVALID_ARGUMENTS: "ms-swift or the engine refuses an argument: compare engineArgs and "
    "status.resolved.command with the flags of the version in the image, and set runtime.swiftVersion to it.",
    causes.COLLECTIVE_FAILED: "The GPUs of the pod do not reach each other: look at their links and at /dev/shm "
    "(resources.sharedMemory).",
    causes.SECRET_MISSING: "Add the named key to the Secret of apiKey, or to the credentials Secret.",
    causes.WEIGHTS_MISSING: "The folder has no weights that can be loaded: check its path, and that its files are "
    "complete.",
    causes.QUANTIZATION_UNSUPPORTED: "The engine cannot load this quantization on this GPU: use another GPU, another "
    "engine, or a model without it.",
    causes.LOSS_NAN: _NOT_FINITE,
    causes.SOURCE_CHECKPOINT_UNFIT: "A file of the checkpoint is missing: check model and adapters, and what writes to "
    "their volumes.",
    causes.UNKNOWN: "See the end of the pod's log: kubectl logs --previous.",
}


def suggestion(cause: EndClass, program: str) -> str:
    """What to do about it, when this program ended so."""
    if program == SERVE:
        return _SERVING.get(cause, cause.suggestion)
    texts = _ADVICE.get(cause) if program in (EXPORT, UPLOAD) else None
    return texts[-1 if program == UPLOAD else 0] if texts else cause.suggestion
