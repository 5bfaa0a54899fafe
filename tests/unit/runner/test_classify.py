"""Exit code, signal and log tail become a cause."""

from __future__ import annotations

import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftop.runner import causes, image
from swiftop.runner.classify import MESSAGE_CHARS, EndedChild, classify_failure, head_bytes, last_lines, tail_bytes
from swiftop.runner.ends import EndClass
from swiftop.runner.exceptions import chains, clean_lines
from swiftop.runner.hub import causes as hub
from tests.support.ends import traceback

FAILED = EndedChild(exit_code=1)
OOM = """Traceback (most recent call last):
  File "/usr/lib/python3/sft.py", line 10, in <module>
    main()
    ^^^^^^
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.10 GiB
"""


def trace(last: str) -> str:
    return f'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    f()\n{last}\n'


def test_the_last_exception_wins() -> None:
    log = (
        trace("ImportError: FlashAttention2 has been toggled on, but no")
        + "went on without\n"
        + trace("KeyError: 'weight'")
    )
    judged = classify_failure(FAILED, log)
    assert judged.cause is causes.UNKNOWN
    assert judged.message == "KeyError: 'weight'"


def test_an_exception_caused_by_another() -> None:
    log = (
        trace("FileNotFoundError: [Errno 2] No such file")
        + "\nDuring handling of the above exception, another exception occurred:\n\n"
        + trace("ValueError: path: '/models/x' not found")
    )
    assert classify_failure(FAILED, log).cause is hub.MODEL_NOT_FOUND


def test_an_unknown_failure_keeps_its_chinese_text() -> None:
    judged = classify_failure(FAILED, trace("ValueError: 数据集第 3 行缺少 messages 字段"))
    assert (judged.cause, judged.message) == (causes.UNKNOWN, "ValueError: 数据集第 3 行缺少 messages 字段")


def test_an_exception_with_any_name_is_found_through_its_traceback() -> None:
    assert classify_failure(FAILED, trace("my.pkg.Broken: 坏了")).message == "my.pkg.Broken: 坏了"


def test_out_of_memory_survives_what_the_other_ranks_say() -> None:
    log = (
        "".join(f"[rank0]: {line}\n" for line in OOM.splitlines())
        + "".join(f"[rank1]: {line}\n" for line in trace("torch.distributed.DistBackendError: NCCL error").splitlines())
        + trace("torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ")
        + "============\nswift.cli.sft FAILED\n  exitcode  : 1 (pid: 7)\n"
    )
    judged = classify_failure(FAILED, log)
    assert judged.cause is causes.CUDA_OUT_OF_MEMORY
    assert judged.message.startswith("torch.OutOfMemoryError: CUDA out of memory.")


def test_out_of_memory_survives_an_exception_that_nobody_knows() -> None:
    assert classify_failure(FAILED, OOM + trace("KeyError: 'x'")).cause is causes.CUDA_OUT_OF_MEMORY


def test_a_collective_failure_alone_stays_one() -> None:
    log = trace("torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2251")
    assert classify_failure(FAILED, log).cause is causes.COLLECTIVE_FAILED


def test_a_failing_destructor_is_not_the_cause() -> None:
    log = (
        trace("ValueError: remaining_argv: ['--x']")
        + "Exception ignored in: <function X.__del__>\n"
        + trace("TypeError: None")
    )
    assert classify_failure(FAILED, log).cause is causes.INVALID_ARGUMENTS


def test_argparse_ends_without_a_traceback() -> None:
    log = "sft.py: error: argument --swanlab_mode: invalid choice: 'offline' (choose from cloud, local)\n"
    assert classify_failure(EndedChild(exit_code=2), log).cause is causes.INVALID_ARGUMENTS


def test_a_traceback_behind_a_progress_bar() -> None:
    log = "Train:  10%|█         | 1/10 [00:01<00:09]" + trace("ValueError: Your setup doesn't support bf16/gpu.")
    assert classify_failure(FAILED, log).cause is image.PRECISION_UNSUPPORTED


def test_a_precision_that_the_model_on_disk_contradicts() -> None:
    """ms-swift 3.7.2 on a model that was saved as float32, asked for --bf16 true."""
    log = trace("ValueError: At most one of fp16 and bf16 can be True, but not both")
    assert classify_failure(FAILED, log).cause is image.PRECISION_UNSUPPORTED


def test_the_message_may_go_on_over_lines() -> None:
    log = trace("RuntimeError: it failed because of\n  the following\nCUDA error: out of memory")
    assert classify_failure(FAILED, log).cause is causes.CUDA_OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (EndedChild(exit_code=None, signal=signal.SIGTERM), "Interrupted"),
        (EndedChild(exit_code=None, signal=signal.SIGKILL, memory_killed=False), "Interrupted"),
        (EndedChild(exit_code=None, signal=signal.SIGKILL, memory_killed=True), "HostOutOfMemory"),
        (EndedChild(exit_code=None, signal=signal.SIGKILL), "HostOutOfMemory"),
        (EndedChild(exit_code=None, signal=signal.SIGSEGV), "Unknown"),
        (EndedChild(exit_code=1, forwarded=True), "Interrupted"),
        (EndedChild(exit_code=1, memory_killed=True), "HostOutOfMemory"),
        (EndedChild(exit_code=1), "Unknown"),
    ],
)
def test_ends_without_an_exception(end: EndedChild, reason: str) -> None:
    assert classify_failure(end, "something\n").cause.reason == reason


def summary(*codes: int) -> str:
    """What torchrun prints of its workers' exit codes: the first to fail stands last."""
    others, root = codes[:-1], codes[-1]
    listed = "".join(f"[{n}]:\n  exitcode  : {code} (pid: {n})\n" for n, code in enumerate(others))
    return (
        trace("torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ")
        + f"====\nFailures:\n{listed or '  <NO_OTHER_FAILURES>'}\n----\n"
        + f"Root Cause (first observed failure):\n[9]:\n  exitcode  : {root} (pid: 9)\n====\n"
    )


def test_a_worker_killed_under_torchrun_is_out_of_host_memory() -> None:
    assert classify_failure(FAILED, summary(-15, -9)).cause is causes.HOST_OUT_OF_MEMORY
    assert classify_failure(EndedChild(exit_code=1, memory_killed=False), summary(-9)).cause is causes.UNKNOWN


def test_workers_that_torchrun_killed_hide_no_cause() -> None:
    judged = classify_failure(FAILED, trace("ValueError: path: '/models/x' not found") + summary(-9, 1))
    assert judged.cause is hub.MODEL_NOT_FOUND


@pytest.mark.parametrize(
    "noise",
    [
        "Exception in thread Thread-2:\n" + trace("requests.exceptions.ConnectionError: swanlab"),
        trace("requests.exceptions.ConnectionError: hf.co"),
        trace("torch.distributed.DistBackendError: NCCL error"),
        summary(-9),
        summary(-6),
    ],
)
def test_nothing_overwrites_out_of_memory(noise: str) -> None:
    assert classify_failure(FAILED, OOM + noise).cause is causes.CUDA_OUT_OF_MEMORY


def test_nccls_farewell_is_not_part_of_the_exception_before_it() -> None:
    farewell = "[rank0]:[W1124 08:11:39.1 ProcessGroupNCCL.cpp:1496] Warning: destroy_process_group() was not called\n"
    judged = classify_failure(FAILED, trace("KeyError: 'weight'") + farewell)
    assert (judged.cause, judged.message) == (causes.UNKNOWN, "KeyError: 'weight'")


def test_a_vague_cause_must_stand_in_the_first_line() -> None:
    judged = classify_failure(FAILED, trace("KeyError: 'weight'\nBroken pipe"))
    assert judged.cause is causes.UNKNOWN


@pytest.mark.parametrize(
    "before", ["--- Logging error ---", "Error in atexit._run_exitfuncs:", "Exception in thread T:"]
)
def test_what_fails_beside_the_training_is_not_its_cause(before: str) -> None:
    log = trace("ValueError: path: '/models/x' not found") + f"{before}\n" + trace("ValueError: I/O on closed file")
    assert classify_failure(FAILED, log).cause is hub.MODEL_NOT_FOUND


def test_a_thread_alone_is_believed() -> None:
    log = "Exception in thread T:\n" + trace("OSError: [Errno 28] No space left on device")
    assert classify_failure(FAILED, log).cause is causes.DISK_FULL


PARTS = [
    b"Traceback (most recent call last):",
    b'  File "/x/swift/dataset/utils.py", line 1, in f',
    b"    f()",
    b"Original Traceback (most recent call last):",
    b"ValueError: x",
    b"The above exception was the direct cause of the following exception:",
    b"During handling of the above exception, another exception occurred:",
    b"OSError: [Errno 30] Read-only file system: '/data/x'",
    b"[INFO:swift] Dataset filtered, origin length: 2, filtered dataset length: 0",
    b"StopIteration",
    b"terminate called after throwing an instance of 'x'",
]
CRASH = EndedChild(exit_code=None, signal=signal.SIGSEGV)


@pytest.mark.parametrize(
    "log",
    [
        trace("requests.exceptions.ConnectionError: hf.co") + "trying again\n",
        "ValueError: path: '/x' not found\n",
    ],
)
def test_a_crash_is_not_what_was_caught_before(log: str) -> None:
    judged = classify_failure(CRASH, log)
    assert judged.cause is causes.UNKNOWN
    assert "SIGSEGV" in judged.message
    assert classify_failure(FAILED, log + summary(-11)).cause is causes.UNKNOWN


@pytest.mark.parametrize("log", ["", "Start training\n=====\n"])
def test_a_bus_error_is_shared_memory_that_is_not_there(log: str) -> None:
    for end, text in (EndedChild(exit_code=None, signal=signal.SIGBUS), log), (FAILED, log + summary(-7)):
        judged = classify_failure(end, text)
        assert judged.cause is causes.SHARED_MEMORY_EXHAUSTED
        assert "SIGBUS" in judged.message
        assert "===" not in judged.message


def test_last_words_of_cpp_are_told_before_a_place() -> None:
    log = "terminate called after throwing an instance of 'std::runtime_error'\n"
    log += "  what():  [TM][ERROR] CUDA runtime error: out of memory\n"
    assert classify_failure(EndedChild(exit_code=None, signal=signal.SIGABRT), log).cause is causes.CUDA_OUT_OF_MEMORY


def test_a_kill_for_memory_tells_more_than_who_missed_the_killed_process() -> None:
    log = trace("RuntimeError: A packing worker exited unexpectedly.").replace("a.py", "/x/swift/dataset/packing.py")
    assert classify_failure(FAILED, log).cause is causes.DATASET_FORMAT
    assert classify_failure(EndedChild(exit_code=1, memory_killed=True), log).cause is causes.HOST_OUT_OF_MEMORY
    log = trace("ValueError: path: '/x' not found")
    assert classify_failure(EndedChild(exit_code=1, memory_killed=True), log).cause is hub.MODEL_NOT_FOUND


def test_a_line_tells_where_no_exception_does_and_of_a_crash_none() -> None:
    log = "ERROR:    [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): in use\nINFO: Shut down\n"
    judged = classify_failure(FAILED, log)
    assert (judged.cause.reason, "attempting to bind" in judged.message) == ("PortTaken", True)
    assert classify_failure(CRASH, log).cause is causes.UNKNOWN


@pytest.mark.parametrize(
    ("file", "error", "reason"),
    [
        ("swift/dataset/loader.py", "ValueError: NaN found in column 'label'", "DatasetFormat"),
        ("/swiftop/files/reward.py", "requests.exceptions.MissingSchema: Invalid URL 'judge:8000/v1'", "PluginFailed"),
        ("swanlab/sdk.py", "requests.exceptions.MissingSchema: Invalid URL 'swanlab.corp/api'", "TrackerFailed"),
        ("vllm/config/parallel.py", "ValueError: 8 is larger than the number of GPUs (4)", "InvalidArguments"),
        ("bitsandbytes/functional.py", "ValueError: Gradient+optimizer bit data type odd", "TrainingFailed"),
        ("x/y.py", "ConnectionError: modelscope.cn/models/x: refused\nsh: 1: nvidia-smi: not found", "HubUnreachable"),
        ("x/y.py", "OSError: '/models/x/config.json' is not a valid JSON file.\nsh: not found", "ModelUnreadable"),
        ("x/y.py", "subprocess.CalledProcessError: Command '['/opt/swift/lib/python3.13/bin/ptxas', '-v']' returned "
         "non-zero exit status 1.", "CompilerMissing"),
    ],
)  # fmt: skip
def test_a_pattern_takes_nothing_from_who_knows_better(file: str, error: str, reason: str) -> None:
    path = file if file.startswith("/") else f"/usr/lib/python3/site-packages/{file}"
    assert classify_failure(FAILED, trace(error).replace("a.py", path)).cause.reason == reason


@pytest.mark.parametrize(
    ("outer", "inner", "reason"),
    [
        ("swift/template/base.py", "torchvision/transforms/transforms.py", "DatasetFormat"),
        ("swift/loss/causal_lm.py", "torch/nn/modules/loss.py", "InvalidArguments"),
        ("swift/template/base.py", "transformers/models/qwen3/modeling_qwen3.py", "TrainingFailed"),
    ],
)
def test_a_forward_pass_is_that_of_the_model(outer: str, inner: str, reason: str) -> None:
    frames = [(outer, "_encode"), ("torch/nn/modules/module.py", "_call_impl"), (inner, "forward")]
    assert classify_failure(FAILED, traceback(frames, "TypeError: odd")).cause.reason == reason


def test_a_file_that_is_gone_below_its_map_is_no_shared_memory() -> None:
    log = 'Fatal Python error: Bus error\n  File "/usr/lib/python3/site-packages/torch/storage.py", line 1 in load\n'
    assert classify_failure(EndedChild(exit_code=None, signal=signal.SIGBUS), log).cause is causes.UNKNOWN


@pytest.mark.parametrize(
    "line",
    ["[WARNING:swift] Error: flash_attn is not installed, sdpa is used instead", "Error in request: Invalid URL"],
)
def test_a_line_about_something_that_went_on_tells_nothing(line: str) -> None:
    assert classify_failure(FAILED, f"{line}\n{{'loss': 1.1}}\nleaving\n").cause is causes.UNKNOWN


def test_a_row_that_looks_like_an_exception_loses_to_a_real_one() -> None:
    log = trace("KeyError: 'weight'") + "row:\nValueError: path: '/x' not found\n"
    assert classify_failure(FAILED, log).cause is causes.UNKNOWN


def test_threads_that_outlive_python_hide_no_cause() -> None:
    log = trace("ValueError: path: '/x' not found") + "terminate called without an active exception\n"
    assert classify_failure(EndedChild(exit_code=None, signal=signal.SIGABRT), log).cause is hub.MODEL_NOT_FOUND


def test_a_crash_that_followed_another_workers_exception() -> None:
    log = trace("ValueError: path: '/x' not found") + summary(1, -6)
    assert classify_failure(FAILED, log).cause is hub.MODEL_NOT_FOUND


def test_an_unknown_last_link_has_the_cause_of_its_chain() -> None:
    log = (
        trace("OSError: [Errno 28] No space left on device")
        + "\nDuring handling of the above exception, another exception occurred:\n\n"
        + trace("RuntimeError: something else")
    )
    judged = classify_failure(FAILED, log)
    assert (judged.cause, judged.message) == (causes.DISK_FULL, "OSError: [Errno 28] No space left on device")
    assert classify_failure(FAILED, log + trace("KeyError: 'x'")).cause is causes.UNKNOWN


def test_without_any_text_the_exit_code_is_told() -> None:
    assert classify_failure(EndedChild(exit_code=9), "").message == "the process exited with code 9"
    assert "SIGSEGV" in classify_failure(EndedChild(exit_code=None, signal=signal.SIGSEGV), "").message


def test_last_lines_are_for_a_reader() -> None:
    bar = "Train:   0%|  | 0/2 [00:00<?]\rTrain: 50%|##  | 1/2 [00:01<00:01]\n"
    log = "\x1b[31mred\x1b[0m\r\n" + bar + "\nswiftop-progress {}\n    f(x)\n    ~^^^\nlast\n"
    assert last_lines(log) == "red\n    f(x)\nlast"


@given(st.text(), st.integers(0, 50))
def test_cut_texts_fit_and_are_part_of_the_whole(text: str, limit: int) -> None:
    whole = text.encode("utf-8", "replace").decode()
    tail, head = tail_bytes(text, limit), head_bytes(text, limit)
    assert len(tail.encode()) <= limit
    assert len(head.encode()) <= limit
    assert whole.endswith(tail)
    assert whole.startswith(head)


@pytest.mark.parametrize(
    "line",
    [
        "1%|" + "|" * 30_000 + "[" * 30_000,
        "9" * 60_000 + "%|",
        "Error: " + "torch" * 12_000,
        "a." * 30_000 + "Error",
        "A" * 60_000,
        "swanlab" * 9_000,
        "'/" * 30_000,
        "/a" * 30_000,
        "https://" * 8_000,
        "host='" * 9_000 + "a" * 1_000,
        "[Errno 13] " + "/" * 60_000,
        "HTTPError" * 6_000,
        "\x1b[" * 30_000,
        "(a pid=" * 9_000,
    ],
    ids=lambda line: line[:12],
)
def test_no_line_holds_the_reader_up(line: str) -> None:
    """PID 1 reads what other people print: a pattern that takes cubic time would hang it for hours."""
    log = trace(f"ValueError: {line}") + f"{line}\n" + trace(line)
    start = time.process_time()
    assert classify_failure(FAILED, log).message
    last_lines(log)
    assert time.process_time() - start < 5


@given(st.lists(st.one_of(st.binary(), st.sampled_from(PARTS)), max_size=20))
def test_any_bytes_can_be_read(parts: list[bytes]) -> None:
    log = b"\n".join(parts).decode("utf-8", "replace")
    assert len(classify_failure(FAILED, log).message) <= MESSAGE_CHARS


@given(st.text())
def test_any_log_can_be_read(log: str) -> None:
    chains(log)
    clean_lines(log)
    assert classify_failure(FAILED, log).message


VLLM = """\
(EngineCore pid=57) ERROR 11-28 17:01:02 [core.py:1000] EngineCore failed to start.
(EngineCore pid=57) ERROR 11-28 17:01:02 [core.py:1000] Traceback (most recent call last):
(EngineCore pid=57) ERROR 11-28 17:01:02 [core.py:1000] torch.OutOfMemoryError: CUDA out of memory.
(EngineCore pid=57) Process EngineCore:
(EngineCore pid=57) Traceback (most recent call last):
(EngineCore pid=57)   File "/opt/vllm/v1/engine/core.py", line 900, in run_engine_core
(EngineCore pid=57)     engine_core = EngineCoreProc(*args, **kwargs)
(EngineCore pid=57) {error}
Traceback (most recent call last):
  File "/opt/vllm/v1/engine/utils.py", line 1431, in wait_for_engine_startup
    raise RuntimeError(
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{}}
"""


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", causes.CUDA_OUT_OF_MEMORY),
        ("OSError: [Errno 28] No space left on device", causes.DISK_FULL),
    ],
)
def test_what_the_engine_s_process_died_of_counts(error: str, cause: EndClass) -> None:
    judged = classify_failure(EndedChild(exit_code=1), VLLM.format(error=error))
    assert (judged.cause, judged.message) == (cause, error)
