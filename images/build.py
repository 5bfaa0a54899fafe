"""Build an image, or find it built: ``build("operator")`` returns its reference and the path of its OCI archive."""

from __future__ import annotations

import contextlib
import fcntl
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from images import archive, catalog, debian, engines, host
from images.catalog import IMAGES, REGISTRY
from images.engines import BuildError

Report = Callable[[str], None]
# "STEP 3/9: RUN …" (buildah, "[2/4] STEP 3/9" with several stages) and "#7 [build 2/5] RUN …" (docker)
STEP = re.compile(r"^(?:(?:\[\d+/\d+\] )?STEP \d+/\d+: |#\d+ \[[^\]]*\d+/\d+\] )(?P<what>.+)")
KEPT_ARCHIVES = 3
LEFTOVERS = ("build-*", "layout-*")  # the scratch directories of a build, which hold its secrets


@dataclass(frozen=True)
class BuiltImage:
    """A built image. `ref` is what pods name, `tagged` carries the content hash; the archive holds both names."""

    name: str
    ref: str
    tagged: str
    archive: Path
    digest: str
    cached: bool


def say(line: str) -> None:
    """Progress for people goes to stderr: stdout is for the answer."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def build(
    name: str,
    *,
    engine: str | None = None,
    arguments: Mapping[str, str] | None = None,
    fresh: bool = False,
    report: Report = say,
) -> BuiltImage:
    """Return the image of the current sources, building it only when they changed (or when `fresh`)."""
    image, given = IMAGES[name], dict(arguments or {})
    if unknown := sorted(set(given) - set(image.arguments)):
        raise BuildError(f"{name} takes no build argument {', '.join(unknown)}; it takes {', '.join(image.arguments)}")
    cache = catalog.cache_directory()
    plan = Plan.of(image, given, cache)
    cached = _found(plan.target, fresh=fresh)
    if not cached:
        with locked(cache, report):
            plan = Plan.of(image, given, cache)  # the sources may have changed while this one waited
            cached = _found(plan.target, fresh=fresh)  # and another process may have built them
            if not cached:
                with Progress(name, plan.target.with_suffix(".log"), report) as progress:
                    _build(engines.choose(engine, cache, progress.run), plan, progress, fresh=fresh)
                prune(cache, name, keep=plan.target)
    return BuiltImage(name, *plan.refs, plan.target, archive.manifest_digest(plan.target), cached=cached)


@dataclass(frozen=True)
class Plan:
    """What to build: one image of the sources as they are now, and where it belongs."""

    image: catalog.Image
    arguments: Mapping[str, str]
    target: Path
    refs: tuple[str, str]

    @classmethod
    def of(cls, image: catalog.Image, arguments: Mapping[str, str], cache: Path) -> Plan:
        """Name the result by its content."""
        key = catalog.content_hash(image, arguments, debian.recipe() if image.base else "")
        refs = (f"{REGISTRY}/{image.name}:dev", f"{REGISTRY}/{image.name}:{key}")
        return cls(image, arguments, cache / f"{image.name}-{key}.tar", refs)


def _found(target: Path, *, fresh: bool) -> bool:
    """Whether the archive is in the cache; finding it counts as use, so that those in use are pruned last."""
    if fresh or not target.exists():
        return False
    target.touch()
    return True


def _build(engine: engines.Engine, plan: Plan, progress: Progress, *, fresh: bool) -> None:
    """Build into a scratch directory that goes away with the secrets in it; the archive appears whole or not at all."""
    name, cache = plan.image.name, plan.target.parent
    with tempfile.TemporaryDirectory(dir=cache, prefix="build-") as work:
        context, part = Path(work) / "context", Path(work) / "image.tar"
        catalog.stage_context(plan.image, context)
        secrets = host.write_secrets(Path(work) / "secrets")
        arguments = {**host.proxy_arguments(), **plan.arguments}
        engine.build(engines.Request(plan.image, context, plan.refs, arguments, secrets, fresh), part, progress.run)
        try:
            archive.check(part)
        except ValueError as error:
            raise BuildError(f"{name}: {error}") from error
        part.rename(plan.target)
    progress.report(f"[images] {name}: {plan.target.stat().st_size / 1e6:.0f} MB after {progress.seconds:.0f} s")


class Progress:
    """Runs commands with their output in a log file, and reports one line per step with the seconds since the start."""

    def __init__(self, name: str, log: Path, report: Report) -> None:
        self.name, self.log, self.report = name, log, report
        self.started = time.monotonic()
        self._file: TextIO | None = None

    def __enter__(self) -> Progress:
        self._file = self.log.open("w")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def run(self, command: Sequence[str]) -> None:
        """Run one command to its end; a failure carries the last lines of its output."""
        if self._file is None:
            raise RuntimeError("use Progress as a context manager")
        words = [word for word in command if not word.startswith(("-", "/")) and word != "unshare"]
        self._say(" ".join(words[:3]))
        last: list[str] = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            for line in process.stdout or ():
                self._file.write(line)
                self._file.flush()
                last = [*last[-24:], line]
                if found := STEP.match(line):
                    self._say(found["what"])
        if process.returncode != 0:
            tail = "".join(last)
            raise BuildError(f"{command[0]} ended with {process.returncode} (log: {self.log}); its last lines:\n{tail}")

    def _say(self, what: str) -> None:
        self.report(f"[images] {self.name}: {self.seconds:4.0f} s  {' '.join(what.split())[:90]}")


@contextlib.contextmanager
def locked(cache: Path, report: Report) -> Iterator[None]:
    """One build at a time on a machine: two would only slow each other down, and share a store.

    What a killed build left is removed here, since nobody else can be building: its pip.conf may hold a password.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("[images] waiting for another image build on this machine")
            fcntl.flock(file, fcntl.LOCK_EX)
        for left in (path for pattern in LEFTOVERS for path in cache.glob(pattern)):
            shutil.rmtree(left)
        yield


def prune(cache: Path, name: str, *, keep: Path) -> None:
    """Archives and logs of older sources go, so that the cache does not grow with every change; the last used stay."""
    for ending in ("tar", "log"):
        pattern = re.compile(re.escape(name) + rf"-[0-9a-f]{{16}}\.{ending}")
        found = [file for file in cache.iterdir() if pattern.fullmatch(file.name) and file.stem != keep.stem]
        for old in sorted(found, key=lambda file: file.stat().st_mtime, reverse=True)[KEPT_ARCHIVES - 1 :]:
            old.unlink()


def export(built: BuiltImage, target: Path) -> None:
    """Put a copy of the archive where a person asked for it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(built.archive, target)
