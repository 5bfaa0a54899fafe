"""Wires the operator: login, Lease, watches, workers, health page, signals. Decides nothing about objects.

Life of a process: it logs in and opens its health page; stands by until the Lease is its own; fills the store; then
watches and works. It ends in one of three ways. A signal drains or cuts off the keys in work, gives the Lease back, in
this order, so that no two write, and exits 0.
A lost Lease ends the process on the spot, since somebody else may act. Anything that breaks, such as a watch that kopf
cannot restore, gives the Lease back and exits 1: the restart is the recovery.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import kopf
import uvloop
from aiohttp import web

from swiftop import names
from swiftop.engine.reconcile import Reconciler
from swiftop.kinds.registry import WATCHED
from swiftop.shell import logs, metrics, watch
from swiftop.shell.cluster import Cluster, in_cluster
from swiftop.shell.config import Config
from swiftop.shell.controller import Controller
from swiftop.shell.keeper import Keeper, Standstill
from swiftop.shell.lease import Lease, LeaseLost

log = logging.getLogger(__name__)

EXIT_LEASE_LOST = 76  # EX_PROTOCOL: tells the log reader from an ordinary crash


def run(config: Config) -> None:
    """Run the operator until a signal."""
    logs.set_up(level=config.log_level, as_json=config.log_json)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config))


async def serve(config: Config) -> None:
    """The whole life of one process."""
    stop = asyncio.Event()
    _stop_on_signals(stop)
    controller = Controller(config)
    controller.unready = controller.helpless
    cluster = await Cluster.connect(wrote=controller.wrote)
    cluster.answered = controller.queue.answered
    try:
        async with _health_page(controller, config):
            await _elected(controller, cluster, config, stop)
    finally:
        await cluster.close()


async def _elected(controller: Controller, cluster: Cluster, config: Config, stop: asyncio.Event) -> None:
    """Stand by, lead, give back."""
    if not config.leader_election:
        await _lead(controller, cluster, config, stop)
        return
    async with Keeper(_end_at_once) as keeper:
        own = await keeper.run(Cluster.connect(wrote=controller.wrote))
        lease = Lease(own, namespace=config.operator_namespace, identity=config.identity or _identity())
        cluster.may_write = lease.valid
        controller.unready = lambda: lease.refusal or controller.helpless()

        async def give_back() -> None:
            await keeper.cease()  # first: a renewal after the release would take the Lease back
            await keeper.run(lease.release())
            controller.metrics.lease(False)

        try:
            # A pod that is refused waits for its rights and says so on its page; a person is told at once.
            if await _unless(stop, keeper.run(lease.acquire(patient=in_cluster()))):
                controller.metrics.lease(True)
                await keeper.keep(lease)
                await _lead(controller, cluster, config, stop, drained=give_back)
        finally:
            await give_back()
            await keeper.run(own.close())


async def _nothing() -> None:
    pass


async def _lead(
    controller: Controller,
    cluster: Cluster,
    config: Config,
    stop: asyncio.Event,
    *,
    drained: Callable[[], Awaitable[None]] = _nothing,
) -> None:
    """Fill the store, then watch and work until ``stop``; ``drained`` is called once nothing is written any more."""
    if not await _unless(stop, controller.until_served(cluster)) or not await _unless(
        stop, controller.first_resync(cluster)
    ):
        return
    gc.collect()
    gc.freeze()  # what there is by now stays: the collector need not go through it again and again
    puller = controller.puller(cluster)
    reconciler = Reconciler(
        cluster=cluster, store=controller.store, progress=puller, operator_namespace=config.operator_namespace
    )
    controller.referring = reconciler.referring
    # kopf comes last: at its end it cancels every task that is younger than itself.
    working = asyncio.create_task(controller.work(reconciler.reconcile, reconciler.report_failure), name="work")
    others = [
        asyncio.create_task(puller.run(), name="progress"),
        asyncio.create_task(controller.keep_resyncing(cluster), name="resync"),
    ]
    others.append(asyncio.create_task(_watch(controller, cluster, config, stop), name="watch"))
    stopped = asyncio.create_task(stop.wait(), name="stop")
    try:
        done, _ = await asyncio.wait({stopped, working, *others}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopped}:
            task.result()  # raises what broke it
            raise RuntimeError(f"{task.get_name()} ended by itself")
        log.info("stopping: %d keys are left to the successor", controller.queue.depth)
    finally:
        controller.queue.stop()
        # A request that hangs must not hold up the successor, and nothing may be written after the Lease is given back.
        await asyncio.wait({working}, timeout=config.drain_seconds)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await cluster.settle(0.5)
        await drained()
        for task in (working, stopped, *others):
            task.cancel()
        await asyncio.gather(working, stopped, *others, return_exceptions=True)


async def _watch(controller: Controller, cluster: Cluster, config: Config, stop: asyncio.Event) -> None:
    """Run kopf. Its own signal handling is taken back: it would stop the watches before the queue is drained."""
    older = asyncio.all_tasks()
    with watch.passed_on(WATCHED, controller.seen):
        tasks = await kopf.spawn_tasks(
            registry=watch.registry(resources=WATCHED, connection=cluster.connection),
            settings=watch.settings(
                selectors={resource: selector for resource, selector in WATCHED.items() if selector}
            ),
            clusterwide=not config.namespaces,
            namespaces=config.namespaces,
            # Without one kopf looks for the name of the user, and the uid of a pod has none. Its type is private.
            identity=cast("Any", names.FIELD_MANAGER),
        )
    _stop_on_signals(stop)
    with watch.of_any_size(WATCHED):
        await kopf.run_tasks(tasks, ignored=older)


@asynccontextmanager
async def _health_page(controller: Controller, config: Config) -> AsyncIterator[None]:
    """Serve /healthz (restart when it fails), /readyz (a person must act when it fails) and /metrics."""

    async def healthz(_: web.Request) -> web.Response:
        unhealthy = controller.unhealthy()
        return web.Response(status=500 if unhealthy else 200, text=(unhealthy or "ok") + "\n")

    async def readyz(_: web.Request) -> web.Response:
        trouble = controller.unhealthy() or controller.unready()
        return web.Response(status=503 if trouble else 200, text=(trouble or "ok") + "\n")

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=controller.metrics.exposition(), headers={"Content-Type": metrics.CONTENT_TYPE})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", exposition)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, _listening(config.host, config.port)).start()
        yield
    finally:
        await runner.cleanup()


def _listening(host: str, port: int) -> socket.socket:
    """A socket for one address, or for all of them: of both families where the kernel has both."""
    if host or not socket.has_dualstack_ipv6():
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)


async def _unless(stop: asyncio.Event, step: Awaitable[None]) -> bool:
    """Take one step of the start; False when ``stop`` came first."""
    stopped, stepping = asyncio.ensure_future(stop.wait()), asyncio.ensure_future(step)
    try:
        await asyncio.wait({stopped, stepping}, return_when=asyncio.FIRST_COMPLETED)
        if not stepping.done():
            return False
        await stepping
        return True
    finally:
        stopped.cancel()
        stepping.cancel()
        await asyncio.gather(stopped, stepping, return_exceptions=True)


def _end_at_once(error: BaseException) -> None:
    """Whatever ended the renewals, ``LeaseLost`` or a bug in them: from here on somebody else may act."""
    known = isinstance(error, LeaseLost | Standstill)
    log.critical("lease lost, ending at once: %s", error, exc_info=None if known else error)
    logging.shutdown()
    os._exit(EXIT_LEASE_LOST)


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def _identity() -> str:
    """Name of this replica: in a pod its name, which a restarted container shares and so takes its own Lease back."""
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}-{secrets.token_hex(4)}"
