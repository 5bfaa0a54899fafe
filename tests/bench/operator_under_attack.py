"""The operator under attack: ``python -m tests.bench.operator_under_attack [--seconds 60] [--only NAME ...]``.

One namespace attacks, in each way that docs/security.md knows, while another applies a run every 1.5 seconds. The
operator is the real process with the rights of the manifests, the API server a real one, fresh for each attack and
without a node. Printed are the time from apply to Job in the other namespace, with that of the API server's own answer
to the apply in it; the Lease; memory and processor of the operator; and what the kubelet's probes would get.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.attacked import Lease, Operator, furnish, measure, proxied, through
from tests.bench.attacker import Attack
from tests.bench.attacks import ATTACKS, attack
from tests.bench.operator_burst import Client, Object, control_plane, report

_SPAWN = multiprocessing.get_context("spawn")
_SETTLES = 2.0  # seconds from the beginning of an attack to the first run beside it
_PREPARES = 300.0  # seconds that an attacker may take to get ready


@contextmanager
def beside(target: Any, *arguments: Any) -> Iterator[None]:
    """A process of its own, so that it keeps nobody here from looking at the clock."""
    process = _SPAWN.Process(target=target, args=arguments, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


@dataclass(frozen=True, kw_only=True)
class Site:
    """One attack on one cluster, within whose network all this is."""

    kubeconfig: Path  # of the administrator
    folder: Path
    chosen: Attack
    seconds: float
    log: Path  # of the operator
    niceness: int  # of the operator

    async def figures(self) -> Object:
        """Make all ready, attack, and measure."""
        async with Client(self.kubeconfig) as admin:
            token, tenant = await furnish(admin, without=self.chosen.without_right)
            config = through(self.kubeconfig, user={"token": token}, to=self.folder / "operator")
            if not self.chosen.fault:
                return await self._measured(admin, config, tenant)
            receives, sends = _SPAWN.Pipe(duplex=False)
            with beside(proxied, self.kubeconfig, token, self.chosen.fault, sends):
                return await self._measured(admin, Path(await asyncio.to_thread(receives.recv)), tenant)

    async def _measured(self, admin: Client, config: Path, tenant: str) -> Object:
        """``config`` is the operator's."""
        counts: Any = _SPAWN.Array("q", 2)
        ready, lease = _SPAWN.Event(), Lease(admin)
        with Operator(config, self.log, self.niceness) as operator:
            while not await lease.look():
                assert operator.ended is None, "the operator ended at its start"
                await asyncio.sleep(0.5)
            looking = asyncio.create_task(lease.look_for_ever())
            with beside(attack, self.chosen.name, self.kubeconfig, tenant, ready, counts):
                if not await asyncio.to_thread(ready.wait, _PREPARES):
                    raise TimeoutError(f"{self.chosen.name} did not get ready")
                before = counts[:]
                await asyncio.sleep(_SETTLES)
                figures = await measure(admin, operator, lease, self.seconds)
                looking.cancel()
                requests = [now - then for now, then in zip(counts[:], before, strict=True)]
        return {**figures, "requests": requests}


def told(chosen: Attack, found: Object) -> None:
    """Print what was found."""
    p50, p99, longest = found["waits"]
    print(f"-- {chosen.name}: {chosen.told}")
    report("apply to Job beside it, p50 / p99 / the longest", f"{p50:.2f} / {p99:.2f} / {longest:.2f} s")
    report("  runs, and those of them without a Job", f"{found['runs']}, {found['without']}")
    report("  of it the API server's answer to the apply, p50 / p99", "{:.2f} / {:.2f} s".format(*found["posts"][:2]))
    report("  the same by the least controller", "{:.2f} / {:.2f} / {:.2f} s".format(*found["least"]))
    lease = f"{found['renewals']}, {found['longest']:.1f} s, {found['transitions']}"
    report("Lease: renewals, longest time between two, transitions", lease)
    rss = " / ".join(f"{mib:.0f}" for mib in (*found["rss"], found["peak"]))
    report("RSS at its begin / middle / end / peak", f"{rss} MiB")
    report("processor", f"{found['cpu'] * 100:.0f} % of a core")
    pages = f"{found['unhealthy']}, {found['unready']}, {found['slowest']:.2f} s"
    report("probes: liveness failed, readiness failed, slowest answer", pages)
    report("requests of the attacker: accepted, refused", "{}, {}".format(*found["requests"]))
    report("load before and after", "{:.1f}, {:.1f}".format(*found["load"]))
    if found["ended"] is not None:
        report("THE OPERATOR ENDED", str(found["ended"]))


def row(chosen: Attack, found: Object) -> str:
    """The same as a row of docs/performance.md."""
    p50, p99, longest = found["waits"]
    cells = (
        chosen.told,
        f"{p50:.2f} / {p99:.2f} / {longest:.2f}",
        "{:.2f} / {:.2f}".format(*found["least"][:2]),
        f"{found['longest']:.1f}, {found['transitions']}",
        f"{found['rss'][0]:.0f} / {found['rss'][-1]:.0f} / {found['peak']:.0f}",
        f"{found['cpu'] * 100:.0f}",
        f"{found['unhealthy']}, {found['unready']}, {found['slowest']:.2f}",
        "{:,}, {:,}".format(*found["requests"]),
        "{:.1f}".format(max(found["load"])),
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each attack")
    parser.add_argument("--only", nargs="+", choices=[known.name for known in ATTACKS])
    parser.add_argument("--nice", type=int, default=0, help="of the operator, on a machine that does other work")
    parser.add_argument("--name", default="bench-attack", help="of the cluster")
    parser.add_argument("--within", type=Path, help=argparse.SUPPRESS)  # the kubeconfig: this is the inner process
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    chosen = [known for known in ATTACKS if options.only is None or known.name in options.only]
    if options.within:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            kubeconfig = through(options.within, user={}, to=folder / "admin")
            shared = {"chosen": chosen[0], "seconds": options.seconds, "log": options.log, "niceness": options.nice}
            print(json.dumps(asyncio.run(Site(kubeconfig=kubeconfig, folder=folder, **shared).figures())))
        return
    rows = []
    for known in chosen:
        with control_plane(options.name, audit=False) as cluster:
            inner = [*cluster.enter("net"), sys.executable, "-m", "tests.bench.operator_under_attack"]
            within = ["--within", str(cluster.kubeconfig), "--log", str(Path(tempfile.gettempdir()) / "operator.log")]
            arguments = [*within, "--only", known.name, "--seconds", str(options.seconds), "--nice", str(options.nice)]
            done = subprocess.run([*inner, *arguments], check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        told(known, found)
        rows.append(row(known, found))
    print("\n".join(rows), flush=True)


if __name__ == "__main__":
    main()
