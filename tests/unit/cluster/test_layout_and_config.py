"""Names, paths and rendered configuration of a test cluster."""

import json
import tomllib
from pathlib import Path

import pytest
import yaml

from images.cache import cache_root
from tools.cluster import cgroups, config
from tools.cluster.layout import ClusterError, Layout, Options

LAYOUT = Layout("demo", Path("/cache"))
BINARIES = config.Binaries(
    **{name: Path("/bin", name) for name in ("kubernetes", "containerd", "runc", "cni", "etcd", "coredns", "pause")}
)


@pytest.mark.parametrize("name", ["", "Demo", "-demo", "demo-", "de/mo", "..", "d" * 31])
def test_a_name_that_fits_nowhere_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="use up to 30"):
        Layout(name, Path("/cache"))


def test_clusters_of_different_names_share_no_directory_and_no_cgroup() -> None:
    other = Layout("tests", LAYOUT.cache)
    for attribute in ("root", "pki", "volatile", "images", "kubeconfig", "lock", "cgroup"):
        assert getattr(LAYOUT, attribute) != getattr(other, attribute)


def test_the_cache_can_be_moved() -> None:
    assert cache_root({"SWIFTOP_CACHE": "/big", "HOME": "/home/u"}) == Path("/big")
    assert cache_root({"HOME": "/home/u"}) == Path("/home/u/.cache/swiftop")


def test_every_configuration_file_parses() -> None:
    files = config.render(LAYOUT, BINARIES)
    assert tomllib.loads(files["containerd.toml"])["root"] == "/cache/clusters/demo/containerd"
    assert json.loads(files["cni/10-bridge.conflist"])["plugins"][0]["bridge"] == "cni0"
    for name in ("kubelet.yaml", "proxy.yaml", "audit.yaml"):
        assert yaml.safe_load(files[name])["kind"]


def test_names_live_as_long_as_in_a_real_cluster() -> None:
    lines = [line.strip() for line in config.corefile(LAYOUT).splitlines()]
    assert "ttl 30" in lines
    assert "cache 30" in lines


def test_pods_run_below_the_cgroup_of_their_cluster() -> None:
    assert yaml.safe_load(config.kubelet_config(LAYOUT))["cgroupRoot"] == "/swiftop-demo"


def test_the_audit_log_is_written_only_on_request() -> None:
    quiet = config.apiserver_command(LAYOUT, BINARIES, Options())
    assert not [argument for argument in quiet if "audit" in argument]
    loud = config.apiserver_command(LAYOUT, BINARIES, Options(audit=True))
    assert f"--audit-log-path={LAYOUT.audit_log}" in loud


def test_hierarchies_of_both_cgroup_versions_are_found() -> None:
    mounts = (
        "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"
        "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
        "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
    )
    assert cgroups.hierarchies(mounts) == ([Path("/sys/fs/cgroup/memory")], [Path("/sys/fs/cgroup/unified")])


@pytest.fixture
def hierarchy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose only cgroup hierarchy is of version 2."""
    root = tmp_path / "cgroup"
    root.mkdir()
    (root / "cgroup.controllers").write_text("cpu memory\n")
    mounts = tmp_path / "mounts"
    mounts.write_text(f"cgroup2 {root} cgroup2 rw 0 0\n")
    monkeypatch.setattr(cgroups, "_MOUNTS", mounts)
    return root


def test_a_cgroup_of_version_2_gets_all_controllers(hierarchy: Path) -> None:
    cgroups.create("/swiftop-demo")
    for level in (hierarchy, hierarchy / "swiftop-demo"):
        assert (level / "cgroup.subtree_control").read_text() == "+cpu +memory"
    assert cgroups.present("/swiftop-demo") == [hierarchy / "swiftop-demo"]


def test_cgroups_that_cannot_be_changed_are_an_error_that_says_what_to_do(hierarchy: Path) -> None:
    (hierarchy / "cgroup.subtree_control").symlink_to("/dev/full")  # a write fails, as the kernel's EBUSY does
    with pytest.raises(ClusterError, match=r"cannot be changed \(.*\)\. In a container .* --cgroupns=host"):
        cgroups.create("/swiftop-demo")
