"""The processes of an embedded cluster: the lock that says it lives, a supervisor's start, a component's restart."""

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.cluster.commands import stand_in
from tools.cluster import locks, supervisor
from tools.cluster.embedded import EmbeddedCluster
from tools.cluster.layout import ClusterError, Layout
from tools.cluster.wait import eventually


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setenv("SWIFTOP_CACHE", str(tmp_path))
    layout = Layout.of("p")
    layout.log.mkdir(parents=True)
    return layout


@contextmanager
def locked(path: Path, kind: int) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, kind)
        yield


def test_who_asks_whether_a_cluster_runs_is_not_taken_for_it(layout: Layout) -> None:
    cluster = EmbeddedCluster("p")
    assert not cluster.running()
    with locked(layout.lock, fcntl.LOCK_SH):
        assert not cluster.running()
    with locked(layout.lock, fcntl.LOCK_EX):
        assert cluster.running()
    assert not cluster.running()


def test_a_supervisor_waits_for_those_who_only_ask(layout: Layout) -> None:
    with layout.lock.open("a") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        threading.Timer(0.2, fcntl.flock, (asking, fcntl.LOCK_UN)).start()
        with supervisor.take(layout.lock) as held:
            assert layout.lock.read_text() == str(os.getpid())
            assert locks.held(layout.lock)
            with pytest.raises(ClusterError, match="another supervisor holds"):
                supervisor.take(layout.lock, seconds=0.1)
            assert not held.closed
    assert layout.lock.read_text() == str(os.getpid())


def launch(layout: Layout, script: str, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(sys, "executable", str(stand_in(layout.cache, "python", script)))
    supervisor.launch({"name": "p"}, layout, seconds)


def test_a_supervisor_that_started_is_left_alone(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    launch(layout, f"echo $$ > {layout.root}/pid; echo '{{}}' > {layout.state}; exec sleep 60", monkeypatch, 30)
    os.kill(int((layout.root / "pid").read_text()), 9)  # it was there


def test_a_supervisor_that_is_too_slow_is_not_left_running(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = f"sleep 60 & echo $! > {layout.root}/child; exec sleep 60"
    with pytest.raises(ClusterError, match="did not start within 1 s"):
        launch(layout, slow, monkeypatch, 1.0)
    child = Path("/proc", (layout.root / "child").read_text().strip(), "status")
    assert eventually(lambda: not child.exists() or "(zombie)" in child.read_text(), 10)


def test_a_supervisor_that_ends_says_why(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match="the supervisor ended: no namespaces here"):
        launch(layout, "echo no namespaces here; exit 1", monkeypatch, 30)


COMPONENT_THAT_ENDS_AT_ONCE = """
import os, sys, threading
from pathlib import Path
from tools.cluster import init
from tools.cluster.layout import Layout, Options

layout = Layout("p", Path(sys.argv[1]))
layout.volatile.mkdir(parents=True)
spawn, ended = os.posix_spawnp, threading.Event()

def slow(*words, **options):
    pid = spawn(*words, **options)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it has ended before anybody knows its number
    ended.wait(0.2)
    return pid

init.RESTART_SECONDS = 0.0
one = init.Init(layout, Options(), None)
os.posix_spawnp = slow
threading.Thread(target=one.start, args=("short", ["true"]), daemon=True).start()
restarted = threading.Event()
one.start, again = lambda *words: restarted.set(), one.start
while not restarted.wait(0.01):
    one.reap()
print("again")
"""


def test_a_component_that_ends_at_once_is_started_again(layout: Layout) -> None:
    command = [sys.executable, "-c", COMPONENT_THAT_ENDS_AT_ONCE, str(layout.cache)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.splitlines()[-1:] == ["again"], done.stderr


def test_purge_holds_the_lock_until_all_is_gone(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a cluster that is brought up meanwhile loses its files."""
    held: list[bool] = []
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("tools.cluster.embedded.cgroups.remove", lambda cgroup: None)
    monkeypatch.setattr("shutil.rmtree", lambda tree, **_: held.append(locks.held(layout.command_lock)))
    EmbeddedCluster("p").purge()
    assert held
    assert all(held)
    assert not locks.held(layout.command_lock)
    assert not layout.command_lock.is_relative_to(layout.root)
