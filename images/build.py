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
KEPT_ARCHIVES = 2


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
    cache.mkdir(parents=True, exist_ok=True)
    key = catalog.content_hash(image, given, debian.recipe() if image.base else "")
    target = cache / f"{name}-{key}.tar"
    refs = (f"{REGISTRY}/{name}:dev", f"{REGISTRY}/{name}:{key}")
    cached = target.exists() and not fresh
    if not cached:
        with _lock(cache / "lock", report), Progress(name, cache / f"{name}-{key}.log", report) as progress:
            chosen = engines.choose(engine, cache, progress.run)
            with tempfile.TemporaryDirectory(dir=cache, prefix="build-") as work:
                request = _request(image, refs, given, Path(work), fresh=fresh)
                part = Path(work) / "image.tar"
                chosen.build(request, part, progress.run)
                part.rename(target)  # appears whole or not at all
            report(f"[images] {name}: {target.stat().st_size / 1e6:.0f} MB after {progress.seconds:.0f} s")
            prune(cache, name, keep=target)
    return BuiltImage(name, *refs, archive=target, digest=archive.manifest_digest(target), cached=cached)


def _request(
    image: catalog.Image, refs: tuple[str, str], given: Mapping[str, str], work: Path, *, fresh: bool
) -> engines.Request:
    """Stage what the engine needs below `work`, which goes away with the secrets in it."""
    context = work / "context"
    catalog.stage_context(image, context)
    secrets = host.write_secrets(work / "secrets")
    return engines.Request(image, context, refs, {**host.proxy_arguments(), **given}, secrets, fresh)


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
def _lock(path: Path, report: Report) -> Iterator[None]:
    """One build at a time on a machine: two would only slow each other down, and share a store."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("[images] waiting for another image build on this machine")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def prune(cache: Path, name: str, *, keep: Path) -> None:
    """Archives of older sources go, so that the cache does not grow with every change; the newest stay."""
    pattern = re.compile(re.escape(name) + r"-[0-9a-f]{16}\.tar")
    found = [file for file in cache.iterdir() if pattern.fullmatch(file.name) and file != keep]
    for old in sorted(found, key=lambda file: file.stat().st_mtime, reverse=True)[KEPT_ARCHIVES - 1 :]:
        old.unlink()
        old.with_suffix(".log").unlink(missing_ok=True)


def export(built: BuiltImage, target: Path) -> None:
    """Put a copy of the archive where a person asked for it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(built.archive, target)
