"""Each cause is found by the texts that ms-swift, torch and the hubs really print."""

from __future__ import annotations

import pytest

from swiftop.runner import causes

TEXTS = [
    (
        "ValueError: The local path does not exist, dataset_id: `/nope/x.jsonl`. os.path.exists(dataset_id): False",
        "DatasetNotFound",
    ),
    ("ValueError: Please input the training dataset.", "DatasetNotFound"),
    ("ValueError: path: '/nope/model' not found", "ModelNotFound"),
    ("ValueError: Please set --model <model_id_or_path>, model: None", "ModelNotFound"),
    (
        "ValueError: Failed to automatically match model_type. Multiple possible types found: ['qwen2','qwen2_gte']",
        "ModelNotFound",
    ),
    ("modelscope_hub.errors.NetworkError: [E1020] Connection failed: https://modelscope.cn", "HubUnreachable"),
    ("httpx.ConnectError: [Errno -3] Temporary failure in name resolution", "HubUnreachable"),
    ("requests.exceptions.ConnectionError: HTTPSConnectionPool(host='modelscope.cn')", "HubUnreachable"),
    ("huggingface_hub.errors.GatedRepoError: 403 Client Error.", "HubAuthFailed"),
    ("modelscope_hub.errors.AuthenticationError: [E1001] token is invalid", "HubAuthFailed"),
    ("huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error. https://hf.co/api/models/a/b", "ModelNotFound"),
    ("ValueError: remaining_argv: ['--foo_bar', '1']", "InvalidArguments"),
    ("sft.py: error: argument --swanlab_mode/--swanlab-mode: invalid choice: 'offline'", "InvalidArguments"),
    ("StopIteration", "DatasetEmpty"),
    ("ZeroDivisionError: integer division or modulo by zero", "DatasetFormat"),
    ("datasets.exceptions.DatasetGenerationError: An error occurred while generating the dataset", "DatasetFormat"),
    (
        'ValueError: The "packing" feature requires a flash attention implementation. Please use one of: "flash_attn"',
        "FlashAttentionMissing",
    ),
    (
        "ImportError: FlashAttention2 has been toggled on, but it cannot be used due to the following error",
        "FlashAttentionMissing",
    ),
    ("importlib.metadata.PackageNotFoundError: No package metadata was found for deepspeed", "DeepSpeedMissing"),
    ("ValueError: Your setup doesn't support bf16/gpu. You need Ampere+ GPU with cuda>=11.0", "PrecisionUnsupported"),
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "CUDAOutOfMemory"),
    ("torch.cuda.OutOfMemoryError: CUDA out of memory.", "CUDAOutOfMemory"),
    ("RuntimeError: CUDA error: out of memory", "CUDAOutOfMemory"),
    ("RuntimeError: DataLoader worker (pid 77) is killed by signal: Killed.", "HostOutOfMemory"),
    (
        "RuntimeError: DataLoader worker (pid 77) is killed by signal: Bus error. It is possible that",
        "SharedMemoryExhausted",
    ),
    ("swanlab.exceptions.AuthenticationError: Failed to initialize the SwanLab client.", "TrackerAuthFailed"),
    ("RuntimeError: swanlab: no TTY is available for interactive login.", "TrackerAuthFailed"),
    (
        "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2251, unhandled system error",
        "CollectiveFailed",
    ),
    ("torch.distributed.DistNetworkError: The client socket has timed out", "CollectiveFailed"),
    ("OSError: [Errno 28] No space left on device", "DiskFull"),
    ("OSError: [Errno 30] Read-only file system: '/swiftop/output/x'", "VolumeNotWritable"),
    ("PermissionError: [Errno 13] Permission denied: '/swiftop/output/demo'", "VolumeNotWritable"),
    ("Exception: Current loss scale already at minimum - cannot decrease scale anymore. Exiting run.", "LossNaN"),
    ("RuntimeError: No CUDA GPUs are available", "GPUMissing"),
]


@pytest.mark.parametrize(("text", "reason"), TEXTS)
def test_a_real_text_has_its_cause(text: str, reason: str) -> None:
    found = causes.match(text)
    assert found is not None
    assert found.reason == reason


@pytest.mark.parametrize(
    "text", ["ValueError: 模型配置错误", "KeyError: 'weight'", "RuntimeError: shape '[2, 3]' is invalid", ""]
)
def test_other_texts_have_none(text: str) -> None:
    assert causes.match(text) is None


def test_reasons_are_unique_and_every_failure_tells_what_to_do() -> None:
    listed = (*causes.FINISHED, causes.INTERRUPTED, *causes.FAILURES)
    assert len(causes.BY_REASON) == len(listed)
    assert all(cause.suggestion and cause.exit_code not in (0, 75) for cause in causes.FAILURES)
    assert all(cause.exit_code == 0 for cause in causes.FINISHED)


def test_every_cause_of_this_module_is_listed() -> None:
    made = {value for value in vars(causes).values() if isinstance(value, causes.Cause)}
    assert made == set(causes.BY_REASON.values())
