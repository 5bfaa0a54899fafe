"""Each cause is found by the texts that ms-swift, torch and the hubs really print."""

from __future__ import annotations

import signal

import pytest

from swiftop.runner import causes, image, machine, trackers, training
from swiftop.runner.classify import EndedChild, classify_failure
from swiftop.runner.ends import EndClass
from swiftop.runner.hub import causes as hub_causes
from swiftop.runner.serve import causes as serve_causes

PACKAGES = "/opt/swift/lib/python3.13/site-packages"
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
    ("ValueError: template_type: 'nothing' not in ['chatml', 'dummy']", "InvalidArguments"),
    ("ValueError: nothing is not a valid SchedulerType, please select one of ['linear']", "InvalidArguments"),
    ("datasets.exceptions.DatasetGenerationError: An error occurred while generating the dataset", "DatasetFormat"),
    (
        'ValueError: The "packing" feature requires a flash attention implementation. Please use one of: "flash_attn"',
        "FlashAttentionMissing",
    ),
    (
        "ImportError: FlashAttention2 has been toggled on, but it cannot be used due to the following error",
        "FlashAttentionMissing",
    ),
    ("RuntimeError: FlashAttention only supports Ampere GPUs or newer.", "FlashAttentionMissing"),
    ("RuntimeError: FlashAttention only support fp16 and bf16 data type", "PrecisionUnsupported"),
    ("ValueError: Attempting to unscale FP16 gradients.", "PrecisionUnsupported"),
    ("importlib.metadata.PackageNotFoundError: No package metadata was found for deepspeed", "DeepSpeedMissing"),
    ("ModuleNotFoundError: No module named 'mpi4py'", "PackageMissing"),
    ("AssertionError: use_liger_kernel requires liger_kernels, try `pip install liger-kernel`", "PackageMissing"),
    (
        "ImportError: Using `bitsandbytes` 4-bit quantization requires bitsandbytes: `pip install -U bitsandbytes`",
        "PackageMissing",
    ),
    (
        "ImportError: A valid HQQ version (>=0.2.1) is not available. Please follow the instructions to install it",
        "PackageMissing",
    ),
    ("ImportError: Loading an EETQ quantized model requires kernels (`pip install kernels`)", "PackageMissing"),
    ("ImportError: Loading an optimum-quanto quantized model requires optimum-quanto library", "PackageMissing"),
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
    ("RuntimeError: [enforce fail at inline_container.cc:626] . unexpected pos 64 vs 0", "DiskFull"),
    (
        "RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:525] Read error [10.0.0.1]:28: Connection reset",
        "CollectiveFailed",
    ),
    ("RuntimeError: Gloo connectFullMesh failed with [/pytorch/third_party/gloo/gloo/x.cc:139]", "CollectiveFailed"),
]
IN_DATASETS = [
    ("StopIteration", f"{PACKAGES}/datasets/packaged_modules/json/json.py", "DatasetEmpty"),
    ("ZeroDivisionError: integer division or modulo by zero", f"{PACKAGES}/swift/dataset/utils.py", "DatasetFormat"),
    (
        "ZeroDivisionError: integer division or modulo by zero",
        f"{PACKAGES}/swift/llm/dataset/utils.py",
        "DatasetFormat",
    ),
]
OTHERS = [
    ("ValueError: 模型配置错误", ""),
    ("KeyError: 'weight'", ""),
    ("RuntimeError: shape '[2, 3]' is invalid", ""),
    ("FileNotFoundError: [Errno 2] No such file or directory: '/tmp/gloo/x'", ""),
    ("FileNotFoundError: [Errno 2] No such file or directory: '/tmp/nccl/x'", ""),
    ("StopIteration", "/data/plugin.py"),
    ("ZeroDivisionError: integer division or modulo by zero", "/data/plugin.py"),
    ("ZeroDivisionError: integer division or modulo by zero", f"{PACKAGES}/elsewhere/mixin.py"),
]
LAST_WORDS = [
    ("terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n", "HostOutOfMemory"),
    (
        "[rank0]:[E1124 08:11:39.12 ProcessGroupNCCL.cpp:632] [Rank 0] Watchdog caught collective operation timeout: "
        "WorkNCCL(SeqNum=1, OpType=ALLREDUCE) ran for 600029 milliseconds before timing out.\n",
        "CollectiveFailed",
    ),
    (
        "terminate called after throwing an instance of 'c10::DistBackendError'\n  what():  [PG ID 0 PG GUID 0 Rank 0] "
        "Process group watchdog thread terminated with exception: [Rank 0] Watchdog caught collective operation\n",
        "CollectiveFailed",
    ),
    (
        "terminate called after throwing an instance of 'c10::Error'\n  what():  CUDA error: out of memory\n",
        "CUDAOutOfMemory",
    ),
]


def traceback(text: str, where: str) -> str:
    return f'Traceback (most recent call last):\n  File "{where}", line 1, in f\n    f()\n{text}\n'


@pytest.mark.parametrize(
    ("text", "where", "reason"), [*((text, "a.py", reason) for text, reason in TEXTS), *IN_DATASETS]
)
def test_a_real_text_has_its_cause(text: str, where: str, reason: str) -> None:
    log = f"{text}\n" if ": error: " in text else traceback(text, where)
    assert classify_failure(EndedChild(exit_code=1), "[INFO:swift] x\n" + log).cause.reason == reason


@pytest.mark.parametrize("end", [EndedChild(exit_code=None, signal=signal.SIGABRT), EndedChild(exit_code=1)])
@pytest.mark.parametrize(("text", "reason"), LAST_WORDS)
def test_an_abort_has_its_cause(text: str, reason: str, end: EndedChild) -> None:
    assert classify_failure(end, "[INFO:swift] x\n" + text).cause.reason == reason


@pytest.mark.parametrize(("text", "where"), OTHERS)
def test_other_texts_have_none(text: str, where: str) -> None:
    assert causes.match(text) is None
    assert classify_failure(EndedChild(exit_code=1), traceback(text, where)).cause is causes.UNKNOWN


def test_reasons_are_unique_and_every_failure_tells_what_to_do() -> None:
    listed = (*causes.FINISHED, causes.INTERRUPTED, causes.LOST, *causes.FAILURES)
    assert len(causes.BY_REASON) == len(listed)
    assert all(cause.suggestion and cause.exit_code not in (0, 75) for cause in causes.FAILURES)
    assert all(cause.exit_code == 0 for cause in causes.FINISHED)


def test_every_cause_is_listed() -> None:
    modules = (causes, hub_causes, serve_causes, trackers, training, machine, image)
    made = {value for module in modules for value in vars(module).values() if isinstance(value, EndClass)}
    assert made == set(causes.BY_REASON.values())


def test_what_may_go_well_the_next_time() -> None:
    transient = {cause.reason for cause in causes.BY_REASON.values() if cause.transient}
    hub = {"HubUnreachable", "PushConflict", "PushIncomplete"}
    serve = {"EngineDead", "EngineStalled", "LoadTimeout"}
    assert transient == {
        *hub,
        *serve,
        "CollectiveFailed",
        "TrackerUnreachable",
        "Stalled",
        "HostUnreachable",
        "VolumeLost",
        "GPUFailed",
    }


def test_the_documented_exit_codes() -> None:
    assert sorted(causes.DOCUMENTED_EXIT_CODES) == [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 20, 75]
