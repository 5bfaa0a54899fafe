"""Locks between processes. A lock is held on a file and ends with the process that holds it, however that ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.cluster.layout import ClusterError, Layout


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """One process at a time; the others wait. The file has to lie where nobody removes it."""
    with _opened(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def session(layout: Layout, *, shared: bool = False) -> Iterator[None]:
    """Keep a cluster from being taken down by others: alone, or shared by those who leave it running."""
    with _opened(layout.session_lock) as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClusterError(
                f"another test session uses cluster {layout.name}: wait until it ends, or use another name"
            ) from None
        yield


def held(path: Path) -> bool:
    """Whether somebody holds it alone. Asked with a shared lock, so that two who ask do not take each other for one."""
    try:
        file = path.open()
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        yield file.fileno()
