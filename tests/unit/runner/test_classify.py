"""Exit code, signal and log tail become a cause."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftop.runner import causes
from swiftop.runner.classify import End, classify_failure, clean_lines, exceptions, head_bytes, last_lines, tail_bytes

FAILED = End(exit_code=1)
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
    verdict = classify_failure(FAILED, log)
    assert verdict.cause is causes.UNKNOWN
    assert verdict.message == "KeyError: 'weight'"


def test_an_exception_caused_by_another() -> None:
    log = (
        trace("FileNotFoundError: [Errno 2] No such file")
        + "\nDuring handling of the above exception, another exception occurred:\n\n"
        + trace("ValueError: path: '/models/x' not found")
    )
    assert classify_failure(FAILED, log).cause is causes.MODEL_NOT_FOUND


def test_an_unknown_failure_keeps_its_chinese_text() -> None:
    verdict = classify_failure(FAILED, trace("ValueError: 数据集第 3 行缺少 messages 字段"))
    assert (verdict.cause, verdict.message) == (causes.UNKNOWN, "ValueError: 数据集第 3 行缺少 messages 字段")


def test_an_exception_with_any_name_is_found_through_its_traceback() -> None:
    assert classify_failure(FAILED, trace("my.pkg.Broken: 坏了")).message == "my.pkg.Broken: 坏了"


def test_out_of_memory_survives_what_the_other_ranks_say() -> None:
    log = (
        "".join(f"[rank0]: {line}\n" for line in OOM.splitlines())
        + "".join(f"[rank1]: {line}\n" for line in trace("torch.distributed.DistBackendError: NCCL error").splitlines())
        + trace("torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ")
        + "============\nswift.cli.sft FAILED\n  exitcode  : 1 (pid: 7)\n"
    )
    verdict = classify_failure(FAILED, log)
    assert verdict.cause is causes.CUDA_OUT_OF_MEMORY
    assert verdict.message.startswith("torch.OutOfMemoryError: CUDA out of memory.")


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
    assert classify_failure(End(exit_code=2), log).cause is causes.INVALID_ARGUMENTS


def test_a_traceback_behind_a_progress_bar() -> None:
    log = "Train:  10%|█         | 1/10 [00:01<00:09]" + trace("ValueError: Your setup doesn't support bf16/gpu.")
    assert classify_failure(FAILED, log).cause is causes.PRECISION_UNSUPPORTED


def test_a_precision_that_the_model_on_disk_contradicts() -> None:
    """ms-swift 3.7.2 on a model that was saved as float32, asked for --bf16 true."""
    log = trace("ValueError: At most one of fp16 and bf16 can be True, but not both")
    assert classify_failure(FAILED, log).cause is causes.PRECISION_UNSUPPORTED


def test_the_message_may_go_on_over_lines() -> None:
    log = trace("RuntimeError: it failed because of\n  the following\nCUDA error: out of memory")
    assert classify_failure(FAILED, log).cause is causes.CUDA_OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (End(exit_code=None, signal=signal.SIGTERM), "Interrupted"),
        (End(exit_code=None, signal=signal.SIGKILL, memory_killed=False), "Interrupted"),
        (End(exit_code=None, signal=signal.SIGKILL, memory_killed=True), "HostOutOfMemory"),
        (End(exit_code=None, signal=signal.SIGKILL), "HostOutOfMemory"),
        (End(exit_code=None, signal=signal.SIGSEGV), "Unknown"),
        (End(exit_code=1, forwarded=True), "Interrupted"),
        (End(exit_code=1, memory_killed=True), "HostOutOfMemory"),
        (End(exit_code=1), "Unknown"),
    ],
)
def test_ends_without_an_exception(end: End, reason: str) -> None:
    assert classify_failure(end, "something\n").cause.reason == reason


def test_a_worker_killed_under_torchrun_is_out_of_host_memory() -> None:
    log = trace("torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ") + "  exitcode  : -9 (pid: 77)\n"
    assert classify_failure(FAILED, log).cause is causes.HOST_OUT_OF_MEMORY
    assert classify_failure(End(exit_code=1, memory_killed=False), log).cause is not causes.HOST_OUT_OF_MEMORY


def test_without_any_text_the_exit_code_is_told() -> None:
    assert classify_failure(End(exit_code=9), "").message == "the training exited with code 9"
    assert "SIGSEGV" in classify_failure(End(exit_code=None, signal=signal.SIGSEGV), "").message


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


@given(st.text())
def test_any_log_can_be_read(log: str) -> None:
    list(exceptions(log))
    clean_lines(log)
    assert classify_failure(FAILED, log).message
