"""The build command around the engines: cache, progress, failures, one build at a time."""

import fcntl
import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from images import __main__ as command
from images import archive, build, engines
from images.engines import BuildError, Request, Run


class FakeEngine:
    """Writes a tiny archive; counts its builds."""

    def __init__(self) -> None:
        self.builds = 0
        self.commands: list[Sequence[str]] = []

    def build(self, request: Request, target: Path, run: Run) -> None:
        self.builds += 1
        for words in self.commands:
            run(words)
        layout = target.parent / "layout"
        layout.mkdir()
        manifest = {"digest": f"sha256:{self.builds}", "size": 1}
        (layout / "index.json").write_text(json.dumps({"manifests": [manifest]}))
        archive.pack_layout(layout, request.refs, target)


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


def test_steps_of_both_engines_become_lines_with_seconds(engine: FakeEngine) -> None:
    output = ["STEP 2/9: RUN apt-get update", "[1/5] STEP 3/4: COPY a b", "#7 [build 2/5] RUN pip", "noise"]
    engine.commands = [[sys.executable, "-c", f"print({chr(10).join(output)!r})"]]
    lines: list[str] = []
    build.build("operator", report=lines.append)
    steps = [line.split(" s  ")[1] for line in lines if " s  " in line]
    assert steps[1:] == ["RUN apt-get update", "COPY a b", "RUN pip"]
    assert all(line.startswith("[images] operator: ") for line in lines)


def test_a_second_builder_waits_and_says_so(engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    said, done = threading.Event(), threading.Event()

    def other() -> None:
        build.build("operator", report=lambda line: said.set() if "waiting" in line else None)
        done.set()

    with (tmp_path / "images/lock").open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        thread = threading.Thread(target=other)
        thread.start()
        assert said.wait(10)
        assert engine.builds == 0
    assert done.wait(10)
    thread.join()
    assert engine.builds == 1


def test_unknown_build_arguments_are_refused(engine: FakeEngine) -> None:
    with pytest.raises(BuildError, match="operator takes no build argument SWIFT_VERSION; it takes BASE"):
        build.build("operator", arguments={"SWIFT_VERSION": "4.6.0"})
    assert engine.builds == 0


def test_old_archives_of_the_same_image_go(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"trainer-{number:016x}.tar").write_text("x")
    (tmp_path / f"trainer-cpu-{1:016x}.tar").write_text("another image")
    keep = tmp_path / f"trainer-{0:016x}.tar"
    build.prune(tmp_path, "trainer", keep=keep)
    left = sorted(file.name for file in tmp_path.iterdir())
    assert keep.name in left
    assert f"trainer-cpu-{1:016x}.tar" in left
    assert len(left) == build.KEPT_ARCHIVES + 1


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
    for words, text in ((["opreator"], "no image opreator"), (["--output", "x"], "exactly one NAME")):
        with pytest.raises(SystemExit):
            command.main(words)
        assert text in capsys.readouterr().err
    assert command.main(["operator", "--build-arg", "X=1"]) == 1
    assert "takes no build argument X" in capsys.readouterr().err
