"""The election, on virtual time, against a Lease kept in memory that can be slow, down or taken."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from swiftop import names
from swiftop.errors import AlreadyExists, Conflict, Forbidden, NotFound, SwiftopError, Transient
from swiftop.shell.lease import Lease, LeaseLost, LeaseRefused, Timing
from tests.unit.shell.virtual_time import run

Object = dict[str, Any]


class Api:
    """One Lease, with optimistic locking."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.version = 0
        self.down = False
        self.hangs = False
        self.error: SwiftopError | None = None
        self.answers_lost = 0  # next writes that get through without their answer
        self.answers_take: list[float] = []  # seconds of the next writes' answers, after the write
        self.calls: list[str] = []

    async def _call(self, verb: str) -> None:
        self.calls.append(verb)
        if self.hangs:
            await asyncio.sleep(1e6)
        if self.down:
            raise Transient("connection refused")
        if self.error:
            raise self.error

    async def get(self, kind: names.Resource, namespace: str, name: str) -> Object | None:
        await self._call("get")
        return self.lease

    async def create(self, obj: Object) -> Object:
        await self._call("create")
        if self.lease is not None:
            raise AlreadyExists("there is one")
        return self._put(obj)

    async def replace(self, obj: Object) -> Object:
        await self._call("replace")
        if self.lease is None or obj["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise Conflict("stale")
        answer = self._put(obj)
        await asyncio.sleep(self.answers_take.pop(0) if self.answers_take else 0)
        return answer

    def _put(self, obj: Object) -> Object:
        self.version += 1
        self.lease = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        if self.answers_lost:
            self.answers_lost -= 1
            raise Transient("reset by peer")
        return self.lease

    @property
    def holder(self) -> str:
        assert self.lease is not None
        return str(self.lease["spec"]["holderIdentity"])


def candidate(api: Api, identity: str = "a") -> Lease:
    return Lease(api, namespace="ns", identity=identity, clock=now)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_leader_is_gone_before_it_may_be_succeeded() -> None:
    timing = Timing()
    # The last try before the deadline may start just under it, and hangs for a whole call.
    assert timing.deadline + timing.call_timeout < timing.duration


@pytest.mark.parametrize("late", [0.0, 1.0, 2.0, 2.9])
@pytest.mark.parametrize("phase", [0.0, 0.3, 0.6, 0.9])
def test_no_two_are_active_when_an_answer_was_late_before_all_went_silent(late: float, phase: float) -> None:
    """The standby may have seen the renewal long before the leader knew that it got through."""

    async def scenario() -> None:
        api, silent = Api(), Api()
        leader = candidate(api, "a")
        standby = Lease(api, namespace="ns", identity="b", clock=now, timing=Timing(poll=0.1))
        await leader.acquire()
        keeping = asyncio.create_task(leader.keep())
        await asyncio.sleep(phase)
        waiting = asyncio.create_task(standby.acquire())
        await asyncio.sleep(19.5 - phase)
        api.answers_take = [late]
        silent.hangs = True
        asyncio.get_running_loop().call_later(0.5 + late + 0.01, setattr, leader, "_api", silent)
        with pytest.raises(LeaseLost):
            await keeping
        assert (leader.held, waiting.done()) == (False, False)
        await waiting

    run(scenario())


def test_a_leader_that_was_stopped_may_not_write_until_it_has_renewed() -> None:
    stopped = 0.0

    async def scenario() -> None:
        nonlocal stopped
        api = Api()
        leader = Lease(api, namespace="ns", identity="a", clock=lambda: now() + stopped)
        assert not leader.valid()
        await leader.acquire()
        assert leader.valid()
        stopped = Timing().deadline + Timing().call_timeout  # and the event loop has not noticed
        assert not leader.valid()
        keeping = asyncio.create_task(leader.keep())
        await asyncio.sleep(Timing().renew)
        await asyncio.sleep(0.1)
        assert leader.valid()  # nobody took over meanwhile
        keeping.cancel()
        await leader.release()
        assert not leader.valid()

    run(scenario())


def test_one_answer_that_never_comes_ends_no_healthy_leader() -> None:
    async def scenario() -> None:
        api = Api()
        leader = candidate(api)
        await leader.acquire()
        keeping = asyncio.create_task(leader.keep())
        for _ in range(10):
            api.answers_take = [1e6]
            await asyncio.sleep(20)
            assert not keeping.done()
        keeping.cancel()

    run(scenario())


def test_a_lease_that_was_deleted_is_lost() -> None:
    async def scenario() -> None:
        api = Api()
        leader = candidate(api)
        await leader.acquire()
        keeping = asyncio.create_task(leader.keep())
        api.error = NotFound("no such Lease")
        with pytest.raises(LeaseLost, match="deleted"):
            await keeping
        assert not leader.held

    run(scenario())


@pytest.mark.parametrize("lease", [{}, {"spec": None}, {"spec": {}}, {"spec": {"leaseTransitions": None}}])
def test_a_lease_that_somebody_made_by_hand_is_taken(lease: Object) -> None:
    async def scenario() -> None:
        api = Api()
        api._put({"metadata": {}, **lease})
        await candidate(api).acquire()
        assert (api.holder, now()) == ("a", 0)

    run(scenario())


def test_a_lease_without_a_duration_lasts_for_ours() -> None:
    async def scenario() -> None:
        api = Api()
        api._put({"metadata": {}, "spec": {"holderIdentity": "b"}})
        await candidate(api).acquire()
        assert now() > Timing().duration

    run(scenario())


@pytest.mark.parametrize(
    ("error", "hint"),
    [(NotFound('namespaces "ns" not found'), "--operator-namespace"), (Forbidden("no right to leases"), "rbac.yaml")],
)
def test_a_refused_candidate_says_so_and_asks_less_and_less_often(
    error: SwiftopError, hint: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        api = Api()
        api.error = error
        impatient = candidate(api)
        with pytest.raises(LeaseRefused, match=hint):
            await impatient.acquire(patient=False)
        waiting = candidate(api)
        task = asyncio.create_task(waiting.acquire())
        await asyncio.sleep(600)
        assert hint in waiting.refusal
        assert len(caplog.records) < 30
        assert hint in caplog.records[-1].getMessage()
        api.error = None
        await asyncio.wait_for(task, Timing().longest_poll)
        assert waiting.refusal == ""

    run(scenario())


def test_an_impatient_standby_outlives_a_refusal_that_comes_later() -> None:
    async def scenario() -> None:
        api = Api()
        await candidate(api, "a").acquire()
        waiting = asyncio.create_task(candidate(api, "b").acquire(patient=False))
        await asyncio.sleep(5)
        api.error = Forbidden("no rules are loaded yet")
        await asyncio.sleep(60)
        assert not waiting.done()
        api.error = None
        await asyncio.wait_for(waiting, Timing().longest_poll + Timing().duration + Timing().poll)

    run(scenario())


def test_a_standby_names_the_leader_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        api = Api()
        leader, standby = candidate(api, "a"), candidate(api, "b")
        await leader.acquire()
        keeping, waiting = asyncio.create_task(leader.keep()), asyncio.create_task(standby.acquire())
        await asyncio.sleep(100)
        keeping.cancel()
        waiting.cancel()

    caplog.set_level("INFO")
    run(scenario())
    assert [r.getMessage() for r in caplog.records].count("standing by: the lease is held by a") == 1


def test_the_first_start_creates_the_lease() -> None:
    async def scenario() -> None:
        api = Api()
        lease = candidate(api)
        await lease.acquire()
        assert (api.holder, lease.held, api.calls) == ("a", True, ["get", "create"])

    run(scenario())


def test_of_two_first_starts_one_wins() -> None:
    async def scenario() -> None:
        api = Api()
        one, two = candidate(api, "a"), candidate(api, "b")
        tasks = [asyncio.create_task(lease.acquire()) for lease in (one, two)]
        await asyncio.wait(tasks, timeout=5)
        assert [one.held, two.held] == [True, False]
        tasks[1].cancel()

    run(scenario())


def test_a_standby_outlives_an_api_server_that_is_down_or_hangs() -> None:
    async def scenario() -> None:
        api = Api()
        api.down = True
        waiting = asyncio.create_task(candidate(api).acquire())
        await asyncio.sleep(3600)
        api.down, api.hangs = False, True
        await asyncio.sleep(3600)
        assert not waiting.done()
        api.hangs = False
        await asyncio.wait_for(waiting, 10)

    run(scenario())


def test_a_standby_takes_over_when_the_leader_is_silent_for_its_duration() -> None:
    async def scenario() -> None:
        api = Api()
        leader, standby = candidate(api, "a"), candidate(api, "b")
        await leader.acquire()
        renewing = asyncio.create_task(leader.keep())
        waiting = asyncio.create_task(standby.acquire())
        await asyncio.sleep(600)
        assert (api.holder, waiting.done()) == ("a", False)
        renewing.cancel()  # killed
        died = now()
        await waiting
        assert api.holder == "b"
        assert Timing().duration - Timing().renew <= now() - died < 20
        assert api.lease is not None
        assert api.lease["spec"]["leaseTransitions"] == 1

    run(scenario())


def test_a_release_hands_over_within_the_poll() -> None:
    async def scenario() -> None:
        api = Api()
        leader, standby = candidate(api, "a"), candidate(api, "b")
        await leader.acquire()
        waiting = asyncio.create_task(standby.acquire())
        await asyncio.sleep(5.5)
        released = now()
        await leader.release()
        assert not leader.held
        await waiting
        assert now() - released <= Timing().poll

    run(scenario())


def test_a_restarted_holder_takes_its_own_lease_back_at_once() -> None:
    async def scenario() -> None:
        api = Api()
        await candidate(api, "a").acquire()
        await candidate(api, "a").acquire()
        assert now() == 0

    run(scenario())


@pytest.mark.parametrize("fault", ["down", "hangs"])
def test_a_leader_gives_up_at_the_deadline(fault: str) -> None:
    async def scenario() -> None:
        api = Api()
        leader = candidate(api)
        await leader.acquire()
        keeping = asyncio.create_task(leader.keep())
        await asyncio.sleep(100.5)
        setattr(api, fault, True)
        with pytest.raises(LeaseLost):
            await keeping
        assert now() - 100 < Timing().duration
        assert not leader.held

    run(scenario())


def test_a_leader_outlives_errors_that_end_before_the_deadline() -> None:
    async def scenario() -> None:
        api = Api()
        leader = candidate(api)
        await leader.acquire()
        keeping = asyncio.create_task(leader.keep())
        for _ in range(10):
            api.down = True
            await asyncio.sleep(5)
            api.down = False
            await asyncio.sleep(5)
        assert not keeping.done()
        keeping.cancel()

    run(scenario())


def test_a_leader_stops_at_once_when_another_holds_the_lease() -> None:
    async def scenario() -> None:
        api = Api()
        leader = candidate(api)
        await leader.acquire()
        keeping = asyncio.create_task(leader.keep())
        assert api.lease is not None
        api._put({**api.lease, "spec": {**api.lease["spec"], "holderIdentity": "b"}})
        with pytest.raises(LeaseLost, match="held by b"):
            await keeping
        assert now() <= Timing().renew
        await leader.release()
        assert api.holder == "b"

    run(scenario())


def test_a_renewal_whose_answer_was_lost_is_no_loss() -> None:
    async def scenario() -> None:
        api = Api()
        leader = candidate(api)
        await leader.acquire()
        keeping = asyncio.create_task(leader.keep())
        api.answers_lost = 1
        await asyncio.sleep(60)
        assert not keeping.done()
        keeping.cancel()

    run(scenario())


def test_a_release_that_fails_is_harmless() -> None:
    async def scenario() -> None:
        api = Api()
        leader = candidate(api)
        await leader.acquire()
        api.down = True
        await leader.release()
        assert not leader.held
        await leader.release()  # and does nothing twice
        assert api.calls.count("replace") == 1

    run(scenario())


def test_a_release_gets_through_although_a_renewal_was_cut_off() -> None:
    async def scenario() -> None:
        api = Api()
        leader = candidate(api)
        await leader.acquire()
        assert api.lease is not None
        api._put(api.lease)  # written by the renewal, whose answer nobody read
        await leader.release()
        assert api.holder == ""

    run(scenario())
