"""The build command around the engines: cache, progress, failures, one build at a time."""

import fcntl
import json
import os
import sys
import tarfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from images import __main__ as command
from images import archive, build, catalog, engines
from images.engines import BuildError, Request, Run


class FakeEngine:
    """Writes a tiny archive; counts its builds."""

    def __init__(self) -> None:
        self.builds = 0
        self.commands: list[Sequence[str]] = []
        self.saves_another_format = False

    def build(self, request: Request, target: Path, run: Run) -> None:
        self.builds += 1
        for words in self.commands:
            run(words)
        if self.saves_another_format:
            tarfile.open(target, "w").close()
            return
        blobs = target.parent / "layout/blobs/sha256"
        blobs.mkdir(parents=True)
        manifest = {"config": {"digest": "sha256:config"}, "layers": []}
        (blobs / "config").write_text("{}")
        (blobs / str(self.builds)).write_text(json.dumps(manifest))
        index = blobs.parents[1] / "index.json"
        index.write_text(json.dumps({"manifests": [{"digest": f"sha256:{self.builds}", "size": 1}]}))
        archive.pack_layout(index.parent, request.refs, target)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine()
    monkeypatch.setenv("SWIFTOP_CACHE", str(tmp_path))
    monkeypatch.setattr(engines, "choose", lambda *_: fake)
    return fake


def test_a_second_build_of_the_same_sources_is_found(engine: FakeEngine) -> None:
    lines: list[str] = []
    first = build.build("operator", report=lines.append)
    second = build.build("operator", report=lines.append)
    assert (first.cached, second.cached, engine.builds) == (False, True, 1)
    assert (second.ref, second.archive, second.digest) == (first.ref, first.archive, "sha256:1")
    assert second.tagged == f"localhost/swiftop/operator:{second.archive.stem.removeprefix('operator-')}"
    assert build.build("operator", fresh=True, report=lines.append).digest == "sha256:2"


def test_nothing_of_a_build_stays_but_archive_and_log(engine: FakeEngine, tmp_path: Path) -> None:
    built = build.build("trainer-cpu", report=lambda line: None)
    left = {file.name for file in (tmp_path / "images").iterdir()}
    assert left == {built.archive.name, built.archive.with_suffix(".log").name, "lock"}


def test_a_failing_step_shows_its_last_lines_and_leaves_no_archive(engine: FakeEngine, tmp_path: Path) -> None:
    engine.commands = [[sys.executable, "-c", "print('E: no such package'); raise SystemExit(100)"]]
    with pytest.raises(BuildError, match=r"(?s)ended with 100 .*E: no such package"):
        build.build("operator", report=lambda line: None)
    assert not list((tmp_path / "images").glob("*.tar"))
    engine.commands = []
    assert not build.build("operator", report=lambda line: None).cached


def test_an_archive_that_no_cluster_could_import_is_never_cached(engine: FakeEngine, tmp_path: Path) -> None:
    engine.saves_another_format = True
    with pytest.raises(BuildError, match=r"operator: .* is no OCI archive of one image: it has no index\.json"):
        build.build("operator", report=lambda line: None)
    assert not list((tmp_path / "images").glob("*.tar"))
    engine.saves_another_format = False
    assert not build.build("operator", report=lambda line: None).cached


def test_what_a_killed_build_left_goes_with_the_next(engine: FakeEngine, tmp_path: Path) -> None:
    for left in ("build-k1ll3d/secrets/pip.conf", "layout-k1ll3d/index.json"):
        (tmp_path / "images" / left).parent.mkdir(parents=True)
        (tmp_path / "images" / left).write_text("https://user:password@mirror/simple")
    built = build.build("operator", report=lambda line: None)
    left_over = {file.name for file in (tmp_path / "images").iterdir()}
    assert left_over == {built.archive.name, built.archive.with_suffix(".log").name, "lock"}


def test_steps_of_both_engines_become_lines_with_seconds(engine: FakeEngine) -> None:
    output = ["STEP 2/9: RUN apt-get update", "[1/5] STEP 3/4: COPY a b", "#7 [build 2/5] RUN pip", "noise"]
    engine.commands = [[sys.executable, "-c", f"print({chr(10).join(output)!r})"]]
    lines: list[str] = []
    build.build("operator", report=lines.append)
    steps = [line.split(" s  ")[1] for line in lines if " s  " in line]
    assert steps[1:] == ["RUN apt-get update", "COPY a b", "RUN pip"]
    assert all(line.startswith("[images] operator: ") for line in lines)


def test_a_second_builder_waits_says_so_and_takes_what_the_first_built(engine: FakeEngine, tmp_path: Path) -> None:
    first = build.build("operator", report=lambda line: None)
    hidden = first.archive.rename(first.archive.with_suffix(".hidden"))
    said = threading.Event()

    def report(line: str) -> None:
        assert "waiting" in line, "it did not wait"
        said.set()

    with (tmp_path / "images/lock").open("w") as holder, ThreadPoolExecutor() as threads:
        fcntl.flock(holder, fcntl.LOCK_EX)
        second = threads.submit(build.build, "operator", report=report)
        assert said.wait(10)
        hidden.rename(first.archive)
        fcntl.flock(holder, fcntl.LOCK_UN)
        assert second.result(10) == replace(first, cached=True)
    assert engine.builds == 1


def test_a_builder_that_waited_builds_the_sources_of_now(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock can be held for minutes; an image must not carry the hash of what the sources were before."""
    keys = iter(["0" * 16, "1" * 16])
    monkeypatch.setattr(catalog, "content_hash", lambda *_: next(keys))
    assert build.build("operator", report=lambda line: None).tagged.endswith(":1111111111111111")


def test_unknown_build_arguments_are_refused(engine: FakeEngine) -> None:
    with pytest.raises(BuildError, match="operator takes no build argument SWIFT_VERSION; it takes BASE"):
        build.build("operator", arguments={"SWIFT_VERSION": "4.6.0"})
    assert engine.builds == 0


def test_the_archives_used_last_stay(tmp_path: Path) -> None:
    names = [f"trainer-{number:016x}" for number in range(6)]
    for age, name in enumerate(names):
        for ending in ("tar", "log"):
            (tmp_path / f"{name}.{ending}").write_text("x")
            os.utime(tmp_path / f"{name}.{ending}", (1000 - age, 1000 - age))
    (tmp_path / f"trainer-cpu-{1:016x}.tar").write_text("another image")
    build.prune(tmp_path, "trainer", keep=tmp_path / f"{names[5]}.tar")
    kept = (names[0], names[1], names[5])
    assert len(kept) == build.KEPT_ARCHIVES
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {f"trainer-cpu-{1:016x}.tar", *(f"{name}.{ending}" for name in kept for ending in ("tar", "log"))}


def test_finding_an_archive_counts_as_use(engine: FakeEngine) -> None:
    archive_ = build.build("operator", report=lambda line: None).archive
    os.utime(archive_, (0, 0))
    build.build("operator", report=lambda line: None)
    assert archive_.stat().st_mtime > 0


def test_the_command_prints_where_the_archive_is(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "out/operator.tar"
    assert command.main(["operator", "--print-path", "--output", str(copy)]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert copy.read_bytes() == path.read_bytes()
    assert command.main([]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("localhost/swiftop/trainer-cpu:dev ")


def test_the_command_explains_wrong_use(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = (
        (["opreator"], "no image opreator"),
        (["--output", "x"], "exactly one NAME"),
        (["operator", "--build-arg", "BASE"], "--build-arg BASE: write it as KEY=VALUE"),
    )
    for words, text in wrong:
        with pytest.raises(SystemExit):
            command.main(words)
        assert text in capsys.readouterr().err
    assert command.main(["operator", "--build-arg", "X=1"]) == 1
    assert "takes no build argument X" in capsys.readouterr().err
