"""Print what this image can train with, and fail when a run that swiftop renders could not work in it.

Run while the image is built, where there is no GPU: so it looks at what is installed and loads the compiled parts,
whose symbols fail to resolve when they were built for another torch. Python 3.9+, standard library only.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from typing import cast

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "trl",
    "ms-swift",
    "swanlab",
    "modelscope",
    "deepspeed",
    "flash-attn",
    "liger-kernel",
)
# What the base brings and nothing may replace: parts of it are compiled against each other.
OF_THE_BASE = re.compile(r"torch|torchvision|torchaudio|triton|vllm|nvidia-[a-z0-9-]+")
# What each feature imports. flash_attn_2_cuda is the compiled part of flash-attn 2 (flash_attn_cuda was version 1's).
FEATURES = {
    "training": ("torch", "swift.pipelines"),
    "packing with flash attention": ("flash_attn", "flash_attn_2_cuda"),
    "tracking with SwanLab": ("swanlab",),
    "DeepSpeed": ("deepspeed",),
    "models and datasets from ModelScope": ("modelscope", "modelscope.hub.api"),
    "liger kernels": ("liger_kernel.transformers",),
}
ADVICE = {
    "packing with flash attention": "give a wheel that fits this Python, torch and CUDA: --build-arg FLASH_ATTN=URL",
    "DeepSpeed": "give another version: --build-arg DEEPSPEED_VERSION=X",
    "liger kernels": "give another version: --build-arg LIGER_VERSION=X",
}


def frozen() -> dict[str, str]:
    """What is installed of these, from its metadata: `pip freeze` hides the version of what came from a URL."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
        if OF_THE_BASE.fullmatch(name):
            found.setdefault(name, distribution.version)  # the first is the one that is imported
    return dict(sorted(found.items()))


def replaced(before: str, now: dict[str, str]) -> list[str]:
    """What is no longer as it was; `before` is the text that `--freeze` printed."""
    pairs = [line.split("==", 1) for line in before.splitlines()]
    return [
        f"{name} of the base was {version}, now it is {now.get(name, 'gone')}: give versions that fit the base"
        for name, version in pairs
        if now.get(name) != version
    ]


def version_of(package: str) -> str | None:
    """Installed version, None when the package is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def failure_of(module: str) -> str | None:
    """Why a module cannot be imported; in a process of its own, since a wrong binary can take the interpreter down."""
    done = subprocess.run([sys.executable, "-c", f"import torch, {module}"], check=False, capture_output=True)
    if done.returncode == 0:
        return None
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else f"ended with {done.returncode}"


def cuda_of_torch() -> str | None:
    """The CUDA version that torch was built for, None for a CPU build."""
    try:
        return cast("str | None", importlib.import_module("torch").version.cuda)
    except ImportError:
        return None


def problems(
    versions: dict[str, str | None], cuda: str | None, failures: dict[str, str | None], swift: str | None
) -> list[str]:
    """Everything that would stop a run, each with the feature it costs."""
    found = []
    if not cuda:
        found.append("torch is built without CUDA: use the official ModelScope image as BASE, or images/trainer-cpu")
    if swift and versions.get("ms-swift") != swift:
        found.append(f"ms-swift is {versions.get('ms-swift')}, not {swift}")
    for feature, modules in FEATURES.items():
        module = next((module for module in modules if failures.get(module)), None)
        if module:
            advice = f"; {ADVICE[feature]}" if feature in ADVICE else ""
            found.append(f"{feature} cannot work: import {module}: {failures[module]}{advice}")
    return found


def main(words: list[str] | None = None) -> int:
    """Print the versions, then the problems; 1 when there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swift", help="the ms-swift version that must be installed")
    parser.add_argument(
        "--freeze", action="store_true", help="only print what must not be replaced, as pip constraints"
    )
    parser.add_argument("--base", type=Path, help="what --freeze printed before anything was installed")
    options = parser.parse_args(words)
    if options.freeze:
        sys.stdout.write("".join(f"{name}=={version}\n" for name, version in frozen().items()))
        return 0
    versions = {package: version_of(package) for package in PACKAGES}
    cuda = cuda_of_torch()
    facts = {"python": sys.version.split()[0], **versions, "CUDA of torch": cuda}
    sys.stdout.write("".join(f"{name} {value or '-'}\n" for name, value in facts.items()))
    sys.stdout.flush()
    failures = {module: failure_of(module) for modules in FEATURES.values() for module in modules}
    found = problems(versions, cuda, failures, options.swift)
    found += replaced(options.base.read_text(), frozen()) if options.base else []
    sys.stderr.write("".join(f"FAILED: {problem}\n" for problem in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
