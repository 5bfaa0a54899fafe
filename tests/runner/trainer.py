"""Real ms-swift: the runner as PID 1 inside the file system of the CPU trainer image, as the user that pods run as."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.runner.harness import Bench
from tests.swift_versions.environments import image_rootfs

FAKES = Path(__file__).parents[1] / "fakes"
USER = 1000
WORK, ASSETS = "/mnt", "/srv"  # inside; every Debian has these empty directories
MODEL = f"{ASSETS}/models/Qwen2.5-0.5B-Instruct"
DATA = f"{ASSETS}/datasets"
_ENTER = f"""set -e
root=$1; work=$2; assets=$3; shift 3
mount --bind "$work" "$root{WORK}"; mount --bind "$assets" "$root{ASSETS}"
mount --rbind /dev "$root/dev"; mount -t proc proc "$root/proc"; mount -t tmpfs tmpfs "$root/tmp"
touch "$root/etc/hosts"; mount --bind /etc/hosts "$root/etc/hosts"
exec chroot --userspec={USER}:{USER} "$root" "$@"
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


def enter(work: Path, assets: Path) -> tuple[str, ...]:
    """What to put before a command to run it in the image, as PID 1."""
    unshare = ("unshare", "--pid", "--fork", "--mount", "--kill-child")
    return (*unshare, "sh", "-c", _ENTER, "sh", str(image_rootfs()), str(work), str(assets))


def make_assets(directory: Path) -> None:
    """The tiny model and its datasets, made by the image's own libraries."""
    (directory / "tiny_model.py").write_bytes((FAKES / "tiny_model.py").read_bytes())
    directory.chmod(0o777)
    command = [*enter(directory, directory), "python", f"{ASSETS}/tiny_model.py", "--out", ASSETS]
    subprocess.run(command, env=ENVIRON, check=True, capture_output=True)


def trainer(directory: Path, assets: Path) -> Bench:
    """A bench with the image around it."""
    directory.mkdir(exist_ok=True)
    directory.chmod(0o777)
    return Bench(directory, prefix=enter(directory, assets), python="python", mounted=WORK, environ=ENVIRON)


def sft(*, launcher: tuple[str, ...] = (), **changes: Any) -> list[str]:
    """The command of a short training; a flag that is None is left out."""
    flags = {**FLAGS, **changes}
    words = [word for name, value in flags.items() if value is not None for word in (f"--{name}", str(value))]
    return ["python", *launcher, "-m", "swift.cli.sft", *words]


def lines(bench: Bench) -> list[dict[str, Any]]:
    """The log of the training."""
    return [json.loads(line) for line in (bench.output / "logging.jsonl").read_text().splitlines()]
