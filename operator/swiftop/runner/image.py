"""How work ends by the packages of its image, and by what they can do on the GPU. ``runner/causes.py`` has these among
its own."""

from __future__ import annotations

from .ends import EXIT_USER, EndClass

FLASH_ATTENTION_MISSING = EndClass(
    "FlashAttentionMissing",
    EXIT_USER,
    "Train a LoRA with training.acceleration: Auto, whose flash_attn needs no package, use an image with flash-attn "
    "for its torch and CUDA, or set training.attention: sdpa and leave out training.packing and training.paddingFree.",
    (
        r"FlashAttention\w* has been toggled on",
        r"requires a flash attention implementation",
        r"No module named '?(flash_attn|flash_attn_2_cuda|flash_attn_interface)",
        r"flash_attn\w*.{0,60}undefined symbol",
        r"FlashAttention (forward |backward )?only supports? (?!fp16)",
        r"flash.attn.{0,60}(is not|not) installed",
        r"(install|requires?) .{0,40}flash.attn",
        r"FlashAttention\w* (is not|does not|doesn't)",
    ),
)
DEEPSPEED_MISSING = EndClass(
    "DeepSpeedMissing",
    EXIT_USER,
    "Use an image that has the deepspeed package, or leave out training.deepspeed.",
    (
        r"PackageNotFoundError.{0,120}deepspeed",
        r"No module named '?deepspeed",
        r"DeepSpeed is not available",
        r"requires DeepSpeed",
    ),
)
PACKAGE_BROKEN = EndClass(
    "PackageBroken",
    EXIT_USER,
    "The packages of the image do not fit each other or the node's driver: use an image as it was published "
    "(runtime.image), or build yours with the versions that ms-swift pins.",
    (
        r"undefined symbol",
        r"cannot open shared object file",
        r"version `(GLIBC|GLIBCXX|CXXABI)\w*_[\d.]+' not found",
        r"numpy\.dtype size changed|compiled using NumPy 1|numpy\.core\.multiarray failed to import|_ARRAY_API",
        r"AttributeError: (partially initialized )?module '[\w.]{1,80}' has no attribute",
        r"operator torchvision::\w+ does not exist",
        r"(Could not|Failed to|Unable to|Error) load(ing)? .{0,40}(lib\w{3,40}|native library|shared (object|librar))",
        r"(binary|library) not found at .{1,300}\.so\b",
        r"CUDA Setup failed",
        r"Feature type '\w{1,40}' not found|cached in a LocalFileSystem",
        r"^ImportError: cannot import name",
        r"require users to upgrade torch|(PyTorch|torch) (>=|version) ?\d[\d.]* (or (higher|later|newer) )?is required",
        r"Failed to import [\w.]{1,120} because of the following error",
        r"(requires|need) [\w.-]{1,60} ?[<>=!~].{0,60}but (you have|found|the installed)",
        r"Detected that PyTorch and \w+ were compiled with different CUDA",
        r"VersionConflict|Unable to import|partially initialized module",
        r"is required for a normal functioning of this module, but found",
        r"Unable to compare versions for|^TypeError: Descriptors cannot (not )?be created directly",
    ),
)
PACKAGE_MISSING = EndClass(
    "PackageMissing",
    EXIT_USER,
    "Use an image that has the package, or leave out the field that needs it (training.liger, tuner.quantization, "
    "quantization of an export, a plugin among files).",
    (
        r"^ModuleNotFoundError: No module named (?!'?transformers_modules\b)",
        r"\(ModuleNotFoundError: No module named",  # of python -m
        r"requires liger_kernels",
        r"^ImportError: .{0,120}\brequires\b",
        r"[Pp]lease (pip )?install (?!git-lfs)|`?pip install ",
        r"is not installed|Missing dependencies for",
        r"^(importlib\.metadata\.)?PackageNotFoundError",
        r"^ImportError: A valid \w+ version .{0,40}is not available",
    ),
)
PRECISION_UNSUPPORTED = EndClass(
    "PrecisionUnsupported",
    EXIT_USER,
    "Set training.precision: fp16 on a GPU without bfloat16 (before Ampere), fp32 without a GPU; flash attention needs "
    "bf16 or fp16.",
    (
        r"Your setup doesn't support bf16",
        r"bf16.{0,60}not supported",
        r"bfloat16.{0,60}(not|isn't) (supported|available)",
        r"does(n't| not) support bf(loat)?16",
        r"Bfloat16 is only supported on GPUs",
        r"At most one of fp16 and bf16 can be True",
        r"FlashAttention only supports? fp16",
        r"Attempting to unscale FP16 gradients",
        r"fp16.{0,80}(only|can't|cannot|not) .{0,40}(CUDA|supported|GPU)",
        r"fp16 mixed precision requires a device",
        r"FP16 Mixed precision training .{0,80}can only be used",
        r"not implemented for '(Half|BFloat16|Float8\w*)'",
        r"expected (m1 and m2|mat1 and mat2|scalar type|.{0,40}dtype) .{0,80}(Half|BFloat16|Float|dtype)",
        r"must have the same dtype",
    ),
)
