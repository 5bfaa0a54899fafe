"""Every pod that a patch may make is one that a namespace with Pod Security ``restricted`` takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from swiftop.api.pod_patch import pod_patch_problems
from swiftop.api.validate import problems
from tests.support.objects import PLATFORM, children_of, run_of
from tests.unit.api.test_pod_patch import ALLOWED, container, spec

Object = dict[str, Any]

# From the Pod Security Standards, and not from the code under test.
VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret", "name",
}  # fmt: skip


def violations(pod: Object) -> Iterator[str]:
    """What ``restricted`` refuses."""
    whole = pod.get("securityContext") or {}
    yield from (key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key))
    yield from (f"volume {key}" for volume in pod.get("volumes", ()) for key in volume if key not in VOLUMES)
    yield from (key for key in ("seLinuxOptions", "appArmorProfile", "sysctls", "windowsOptions") if whole.get(key))
    for one in (*pod["containers"], *pod.get("initContainers", ())):
        own = one.get("securityContext") or {}
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{one['name']}: allowPrivilegeEscalation"
        if (own.get("capabilities") or {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
            yield f"{one['name']}: capabilities"
        if own.get("runAsNonRoot", whole.get("runAsNonRoot")) is not True:
            yield f"{one['name']}: runAsNonRoot"
        if own.get("runAsUser", whole.get("runAsUser")) == 0:
            yield f"{one['name']}: runAsUser"
        profile = own.get("seccompProfile", whole.get("seccompProfile")) or {}
        if profile.get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{one['name']}: seccompProfile"
        yield from (f"{one['name']}: {key}" for key in ("privileged", "seLinuxOptions", "procMount") if own.get(key))
        yield from (f"{one['name']}: hostPort" for port in one.get("ports", ()) if port.get("hostPort"))
        for check in ("livenessProbe", "readinessProbe", "startupProbe"):
            yield from (
                f"{one['name']}: host of {check}" for how in (one.get(check) or {}).values() if "host" in str(how)
            )


def pod_of(patch: Object) -> Object:
    run = run_of({**PLATFORM, "runtime": {**PLATFORM["runtime"], "podPatch": patch}})
    assert problems(run) == ()
    pod: Object = children_of(run)[-1]["spec"]["template"]["spec"]
    return pod


@pytest.mark.parametrize("name", ALLOWED)
def test_what_a_patch_may_do_is_restricted(name: str) -> None:
    assert list(violations(pod_of(ALLOWED[name]))) == []


def test_what_a_container_says_of_itself_stays() -> None:
    patch = container("proxy", image="p", securityContext={"runAsUser": 7, "readOnlyRootFilesystem": True})
    proxy = pod_of(patch)["containers"][-1]
    assert proxy["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsUser": 7,
        "readOnlyRootFilesystem": True,
    }


@pytest.mark.parametrize("value", [{"drop": ["NET_RAW"]}, {"drop": []}, {"add": ["CHOWN"], "drop": ["ALL"]}])
@pytest.mark.parametrize("group", ["containers", "initContainers"])
def test_other_capabilities_are_refused(group: str, value: Object) -> None:
    patch = spec(**{group: [{"name": "proxy", "image": "p", "securityContext": {"capabilities": value}}]})
    assert pod_patch_problems(patch)
