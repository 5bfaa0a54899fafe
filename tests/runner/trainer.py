"""Real ms-swift: the runner as PID 1 inside the file system of an image, as the user that pods run as.

That is the CPU trainer image unless ``image`` names another. With ``SERVER`` there is vLLM's real engine; it serves no
model with narrower heads than those of ``make_assets(directory, head_dim=32)``.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.runner.harness import Bench
from tests.swift_versions.environments import TRAINER, image_rootfs, image_variables

SERVER = "server-vllm-cpu"
FAKES = Path(__file__).parents[1] / "fakes"
USER = 1000
WORK, ASSETS = "/mnt", "/srv"  # inside; every Debian has these empty directories
MODEL = f"{ASSETS}/models/Qwen2.5-0.5B-Instruct"
DATA = f"{ASSETS}/datasets"
_ENTER = f"""set -e
root=$1; work=$2; assets=$3; shift 3
mount --bind "$work" "$root{WORK}"; mount --bind "$assets" "$root{ASSETS}"
mount --rbind /dev "$root/dev"; mount --rbind /sys "$root/sys"; mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
touch "$root/etc/hosts"; mount --bind /etc/hosts "$root/etc/hosts"
exec chroot --userspec={USER}:{USER} "$root" env --chdir=/tmp "$@"  # a pod works in a folder that it may write to
"""
ENVIRON = {
    "PATH": "/opt/swift/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "COLUMNS": "300",
    "PYTHONUNBUFFERED": "1",
    "OMP_NUM_THREADS": "1",
    "USE_LIBUV": "0",  # Debian's torch is built without it ...
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # ... and the store that torchrun shares asks for it all the same
    "MODELSCOPE_CACHE": "/tmp/cache/modelscope",
    "HF_HOME": "/tmp/cache/huggingface",
    "SWANLAB_LOG_DIR": "/tmp/swanlog",
}
# That pods get with this engine.
VLLM_ENVIRON = {"VLLM_NO_USAGE_STATS": "1", "VLLM_CACHE_ROOT": "/tmp/vllm", "TORCH_COMPILE_DISABLE": "1"}
FLAGS: dict[str, Any] = {
    "model": MODEL,
    "dataset": f"{DATA}/messages.jsonl#40",
    "output_dir": f"{WORK}/out",
    "tuner_type": "lora",
    "max_steps": 6,
    "save_steps": 3,
    "max_length": 256,
    "logging_steps": 1,
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "use_cpu": "true",
    "torch_dtype": "float32",
    "bf16": "false",
    "fp16": "false",
    "check_model": "false",
    "dataloader_num_workers": 0,
    "add_version": "false",
    "callbacks": "graceful_exit",
    "report_to": "none",
}


def enter(work: Path, assets: Path, image: str = TRAINER) -> tuple[str, ...]:
    """What to put before a command to run it in an image, as PID 1."""
    unshare = ("unshare", "--pid", "--fork", "--mount", "--kill-child")
    return (*unshare, "sh", "-c", _ENTER, "sh", str(image_rootfs(image)), str(work), str(assets))


def make_assets(directory: Path, head_dim: int = 16) -> None:
    """The tiny model and its datasets, made by the trainer image's own libraries."""
    (directory / "tiny_model.py").write_bytes((FAKES / "tiny_model.py").read_bytes())
    directory.chmod(0o777)
    words = ["python", f"{ASSETS}/tiny_model.py", "--out", ASSETS, "--head-dim", str(head_dim)]
    subprocess.run([*enter(directory, directory), *words], env=ENVIRON, check=True, capture_output=True)


def trainer(directory: Path, assets: Path, image: str = TRAINER) -> Bench:
    """A bench with an image around it."""
    directory.mkdir(exist_ok=True)
    directory.chmod(0o777)
    environ = ENVIRON if image == TRAINER else {**ENVIRON, **VLLM_ENVIRON, **image_variables(image)}
    return Bench(directory, prefix=enter(directory, assets, image), python="python", mounted=WORK, environ=environ)


def sft(*, launcher: tuple[str, ...] = (), **changes: Any) -> list[str]:
    """The command of a short training; a flag that is None is left out."""
    flags = {**FLAGS, **changes}
    words = [word for name, value in flags.items() if value is not None for word in (f"--{name}", str(value))]
    return ["python", *launcher, "-m", "swift.cli.sft", *words]


def lines(bench: Bench) -> list[dict[str, Any]]:
    """The log of the training."""
    return [json.loads(line) for line in (bench.output / "logging.jsonl").read_text().splitlines()]
