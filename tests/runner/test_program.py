"""A second program needs nothing of the core: two steps one after the other, run by the real zip file."""

from __future__ import annotations

from pathlib import Path

from tests.runner.harness import UNSHARE, Bench, Execution

TOY = """
import sys
sys.path.insert(0, {zip!r})
from swiftop_runner import causes, main
from swiftop_runner.classify import Judged
from swiftop_runner.program import Ended, Reached, Step
from swiftop_runner.protocol import FAILED, FINISHED
from swiftop_runner.report import Member


class Toy:
    members = (Member("phase", "int", "swiftop_toy_phase", "Steps done"),)
    routes = {{"/toy": lambda: ("text/plain", b"hello")}}

    def __init__(self, context):
        self.context, self.done = context, 0

    def begin(self):
        if self.context.plan.settings["nothing"]:
            return Ended(FINISHED, Judged(causes.MAX_STEPS, "nothing to do"))

    def steps(self):
        for name in ("merge", "push"):
            yield Step(name, ("sh", "-c", self.context.plan.command[self.done]), environ={{"STEP": name}},
                       without=frozenset(self.context.plan.settings["without"]))

    def saw(self, data):
        pass

    def check(self, now):
        return "it takes too long" if self.context.plan.settings["hang"] else None

    def stop(self):
        pass

    def judge(self, step, end, evidence):
        if end.exit_code != 0:
            return Ended(FAILED, Judged(causes.UNKNOWN, step.name + ": " + (end.ended_by or evidence.strip())))
        self.done += 1
        if self.done == 2:
            return Ended(FINISHED, Judged(causes.MAX_STEPS, "both are done"))

    def conclude(self, ended):
        pass

    def report(self):
        return {{"phase": self.done, "other": 1}}

    def reached(self):
        return Reached()


sys.exit(main.main({{"toy": Toy}}))
"""


def toy(
    bench: Bench,
    first: str,
    second: str,
    *,
    hang: bool = False,
    nothing: bool = False,
    program: str = "toy",
    without: tuple[str, ...] = (),
) -> Execution:
    bench.local("toy.py").write_text(TOY.format(zip=bench.inside("runner.pyz")))
    bench.zip = bench.inside("toy.py")
    return bench.start(
        [first, second], program=program, settings={"hang": hang, "nothing": nothing, "without": list(without)}
    )


def test_two_steps_one_after_the_other(bench: Bench) -> None:
    run = toy(bench, "echo I am $STEP", "echo I am $STEP")
    code, message = run.end()
    assert (code, message["outcome"], message["message"]) == (0, "finished", "both are done")
    assert message["progress"] == {"version": 1, "phase": 2}
    assert run.log.index("I am merge") < run.log.index("I am push")


def test_its_numbers_and_routes_are_served(bench: Bench) -> None:
    run = toy(bench, "true", "sleep 60")
    run.wait_for_log('"phase": 1')
    assert "swiftop_toy_phase 1\n" in (run.get("/metrics") or "")
    assert (run.get("/toy"), run.progress()) == ("hello", {"version": 1, "phase": 1})
    run.terminate()
    assert run.end()[0] == 20


def test_a_step_that_fails_is_the_last(bench: Bench) -> None:
    run = toy(bench, "echo broken; exit 3", "echo never")
    code, message = run.end()
    assert (code, message["outcome"], message["message"]) == (20, "failed", "merge: broken")
    assert "never" not in run.log


def test_a_step_can_be_ended_and_nothing_may_be_left_to_do(bench: Bench) -> None:
    assert toy(bench, "sleep 60", "true", hang=True).end()[1]["message"] == "merge: it takes too long"
    bench.zip = bench.inside("runner.pyz")
    assert toy(bench, "exit 1", "exit 1", nothing=True).end()[0] == 0


def test_a_program_that_does_not_exist(bench: Bench) -> None:
    run = bench.start(["true"], program="dance")
    assert run.process.wait(30) == 20
    assert "there is no program 'dance'" in run.log


def test_no_process_reads_a_secret_out_of_the_runner(tmp_path: Path, python: str) -> None:
    bench = Bench(tmp_path, prefix=(*UNSHARE, "setpriv", "--bounding-set=-all", "--inh-caps=-all"), python=python)
    bench.environ["HF_TOKEN"] = "hf_0123456789"
    run = toy(bench, "cat /proc/1/environ >/dev/null; echo read: $?", "true")
    assert (run.end()[0], "read: 1" in run.log, "hf_0123456789" in run.log) == (0, True, False), run.log
    bench.close()


def test_a_step_does_not_see_what_it_must_not(bench: Bench) -> None:
    bench.environ |= {"HF_TOKEN": "hf_0123456789", "OTHER": "other"}
    run = toy(bench, "echo $HF_TOKEN-$OTHER", "true", without=("HF_TOKEN",))
    assert (run.end()[0], "-other" in run.log, "hf_" in run.log) == (0, True, False)


def test_nothing_of_a_step_lives_on_in_the_next_one(pid1: Bench) -> None:
    nested = """setsid sh -c 'setsid sh -c "setsid sleep 1234 & sleep 1235" & sleep 1236' >/dev/null 2>&1 &"""
    started = "until grep -qs 1234 /proc/[0-9]*/cmdline; do sleep 0.05; done"
    run = toy(pid1, f"{nested} {started}", "echo left: $(cat /proc/[0-9]*/comm | grep -c sleep)")
    assert (run.end()[0], "left: 0" in run.log) == (0, True), run.log
