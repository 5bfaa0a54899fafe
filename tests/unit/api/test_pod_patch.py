"""What a pod patch may and may not do."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop.api.pod_patch import pod_patch_problems, without_image


def spec(**fields: Any) -> dict[str, Any]:
    return {"spec": fields}


def container(name: str = "swift", **fields: Any) -> dict[str, Any]:
    return spec(containers=[{"name": name, **fields}])


CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
ALLOWED = {
    "labels and annotations": {"metadata": {"labels": {"team": "nlp"}, "annotations": {"a": "b"}}},
    "grace": spec(terminationGracePeriodSeconds=600),
    "sidecar": container(
        "proxy", image="proxy:1", command=["proxy"], args=["--port", "1"], env=[{"name": "A", "value": "b"}]
    ),
    "native sidecar": spec(initContainers=[{"name": "proxy", "image": "proxy:1", "restartPolicy": "Always"}]),
    "scratch volume": spec(volumes=[{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": CLAIM}}}]),
    "secret by reference": container(
        env=[{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]
    ),
    "variables of a ConfigMap": container(envFrom=[{"configMapRef": {"name": "a"}}]),
    "a sidecar's own secrets": container("proxy", image="proxy:1", envFrom=[{"secretRef": {"name": "a"}}]),
    "dropped capabilities": container(securityContext={"capabilities": {"drop": ["ALL"]}, "privileged": False}),
    "a hardened sidecar": spec(
        initContainers=[
            {
                "name": "proxy",
                "image": "proxy:1",
                "resources": {"requests": {"cpu": "1", "ephemeral-storage": "1Gi"}, "limits": {"memory": "1Gi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                    "runAsNonRoot": True,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
            }
        ]
    ),
    "a seccomp profile of the node": spec(
        securityContext={"seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"}}
    ),
    "words of a pod spec as annotations": {"metadata": {"annotations": {"capabilities": "none", "resources": "few"}}},
    "names of merged lists as labels": {"metadata": {"labels": {"env": "prod", "volumes": "none"}}},
    "probes of the pod itself": container(
        "proxy",
        image="proxy:1",
        livenessProbe={"httpGet": {"port": 80}},
        lifecycle={"preStop": {"exec": {"command": ["true"]}}},
    ),
    "projected secrets": spec(volumes=[{"name": "a", "projected": {"sources": [{"secret": {"name": "b"}}]}}]),
    "a runtime class and how to find names": spec(
        runtimeClassName="kata", dnsPolicy="None", dnsConfig={"nameservers": ["10.0.0.1"]}, hostUsers=False
    ),
    "words of a pod spec in maps": spec(
        nodeSelector={"hostname": "a"},
        topologySpreadConstraints=[
            {
                "maxSkew": 1,
                "topologyKey": "zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"hostPath": "x"}},
            }
        ],
        volumes=[{"name": "a", "csi": {"driver": "d", "volumeAttributes": {"serviceAccountName": "x"}}}],
    ),
    "nothing": {},
}

BANNED = {
    "spec.containers[0].readinessProbe": container(readinessProbe={"exec": {"command": ["true"]}}),
    "spec.hostNetwork": spec(hostNetwork=True),
    "spec.hostPID": spec(hostPID=True),
    "spec.hostIPC": spec(hostIPC=True),
    "spec.serviceAccountName": spec(serviceAccountName="admin"),
    "spec.serviceAccount": spec(serviceAccount="admin"),
    "spec.automountServiceAccountToken": spec(automountServiceAccountToken=True),
    "spec.nodeName": spec(nodeName="node1"),
    "spec.restartPolicy": spec(restartPolicy="Always"),
    "spec.activeDeadlineSeconds": spec(activeDeadlineSeconds=5),
    "spec.securityContext": spec(securityContext=None),
    "spec.securityContext.sysctls": spec(securityContext={"sysctls": [{"name": "a"}]}),
    "spec.securityContext.runAsNonRoot": spec(securityContext={"runAsNonRoot": False}),
    "spec.securityContext.seccompProfile.type": spec(securityContext={"seccompProfile": {"type": "Unconfined"}}),
    "spec.$patch": spec(**{"$patch": "replace"}),
    "spec.volumes[0].hostPath": spec(volumes=[{"name": "root", "hostPath": {"path": "/"}}]),
    "spec.volumes[0].nfs": spec(volumes=[{"name": "root", "nfs": {"server": "a", "path": "/"}}]),
    "spec.volumes[0].projected.sources[0].serviceAccountToken": spec(
        volumes=[{"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]
    ),
    "spec.containers[0].envFrom[1].secretRef": container(
        envFrom=[{"configMapRef": {"name": "a"}}, {"secretRef": {"name": "b"}}]
    ),
    "spec.containers[0].securityContext.privileged": container(securityContext={"privileged": True}),
    "spec.containers[0].securityContext.allowPrivilegeEscalation": container(
        securityContext={"allowPrivilegeEscalation": True}
    ),
    "spec.containers[0].securityContext.runAsUser": container(securityContext={"runAsUser": 0}),
    "spec.containers[0].securityContext.capabilities": container(
        securityContext={"capabilities": {"add": ["SYS_ADMIN"], "drop": ["ALL"]}}
    ),
    "spec.initContainers[0].securityContext.capabilities": spec(
        initContainers=[{"name": "a", "securityContext": {"capabilities": {"drop": []}}}]
    ),
    "spec.containers[0].securityContext.readOnlyRootFilesystem": container(
        "proxy", securityContext={"readOnlyRootFilesystem": False}
    ),
    "spec.containers[0].securityContext.seccompProfile.type": container(
        "proxy", securityContext={"seccompProfile": {"type": "unconfined"}}
    ),
    "spec.securityContext.seLinuxOptions": spec(securityContext={"seLinuxOptions": {"type": "spc_t"}}),
    "spec.securityContext.appArmorProfile": spec(securityContext={"appArmorProfile": {"type": "Unconfined"}}),
    "spec.securityContext.seLinuxChangePolicy": spec(securityContext={"seLinuxChangePolicy": "Recursive"}),
    "spec.containers[0].securityContext.seLinuxOptions": container(securityContext={"seLinuxOptions": {"level": "s0"}}),
    "spec.containers[0].securityContext.runasuser": container(securityContext={"runasuser": 0}),
    "spec.containers[0].livenessProbe.httpGet.host": container(
        livenessProbe={"httpGet": {"host": "169.254.169.254", "port": 80}}
    ),
    "spec.initContainers[0].startupProbe.tcpSocket.host": spec(
        initContainers=[{"name": "a", "startupProbe": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}}]
    ),
    "spec.containers[0].lifecycle.postStart.httpGet.host": container(
        "proxy", lifecycle={"postStart": {"httpGet": {"host": "10.0.0.1", "port": 80}}}
    ),
    "spec.volumes[0].projected.sources[1].podCertificate": spec(
        volumes=[
            {"name": "a", "projected": {"sources": [{"secret": {"name": "b"}}, {"podCertificate": {"keyType": "x"}}]}}
        ]
    ),
    "spec.volumes[0].projected.sources[0].clusterTrustBundle": spec(
        volumes=[{"name": "a", "projected": {"sources": [{"clusterTrustBundle": {"name": "x"}}]}}]
    ),
    "spec.volumes[1]": spec(volumes=[{"name": "a", "emptyDir": {}}, {"name": "pruned"}]),
    "spec.volumes[0].1": spec(volumes=[{"name": "a", "emptyDir": {}, 1: 2}]),
    "metadata.foo": {"metadata": {"foo": {1: 2}}},
    "spec.dnsConfig.resources": spec(dnsConfig={"resources": {"limits": {1: 2}}}),
    "spec.hostnameOverride": spec(hostnameOverride="node1"),
    "spec.node_selector": spec(node_selector={"a": "b"}),
    "spec.containers[0].imagePullPolcy": container(imagePullPolcy="Always"),
    "spec.containers[0].restartPolicy": container(restartPolicy="Always"),
    "spec.securityContext.windowsOptions": spec(securityContext={"windowsOptions": {"hostProcess": True}}),
    "spec.containers[0].resources.limits.nvidia.com/gpu": container(
        "proxy", resources={"limits": {"cpu": "1", "nvidia.com/gpu": 1}}
    ),
    "spec.initContainers[0].resources.requests.amd.com/gpu": spec(
        initContainers=[{"name": "a", "resources": {"requests": {"amd.com/gpu": 1}}}]
    ),
    "spec.containers[0].resources.claims": container(resources={"claims": [{"name": "gpu"}]}),
    "spec.resourceClaims": spec(resourceClaims=[{"name": "gpu", "resourceClaimName": "gpu"}]),
    "spec.terminationGracePeriodSeconds": spec(terminationGracePeriodSeconds=3601),
    "spec.containers[0].livenessProbe.terminationGracePeriodSeconds": container(
        livenessProbe={"terminationGracePeriodSeconds": "9999"}
    ),
    "metadata.annotations.container.apparmor.security.beta.kubernetes.io/swift": {
        "metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/swift": "unconfined"}}
    },
    "metadata.annotations.seccomp.security.alpha.kubernetes.io/pod": {
        "metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}
    },
    "spec.containers[0].ports[0].hostPort": container(ports=[{"containerPort": 1, "hostPort": 1}]),
    "spec.containers[0].env[0].value": container(env=[{"name": "HF_TOKEN", "value": "hf_x"}]),
    "spec.shareProcessNamespace": spec(shareProcessNamespace=True),
    "spec.containers[0].env[0].name": container(env=[{"name": "SWIFTOP_PLAN", "value": "{}"}]),
    "spec.containers[0].command": container(command=["sh"]),
    "spec.containers[0].image": container(image="other"),
    "spec.containers[0].name": spec(containers=[{"image": "nameless"}]),
    "spec.initContainers[0].securityContext.privileged": spec(
        initContainers=[{"name": "a", "securityContext": {"privileged": True}}]
    ),
    "spec.volumes[0]": spec(volumes=["x"]),
    "spec.volumes": spec(volumes={"name": "x"}),
    "spec.volumes[0].name": spec(volumes=[{"name": ["x"], "emptyDir": {}}]),
    "spec.containers": spec(containers="swift"),
    "spec.imagePullSecrets[1]": spec(imagePullSecrets=[{"name": "x"}, "y"]),
    "spec.containers[0].env[0]": container(env=["A"]),
    "spec.containers[0].env[0].valueFrom": container(env=[{"name": "A", "valueFrom": "b"}]),
    "spec.containers[0].volumeMounts[0].mountPath": container(volumeMounts=[{"name": "x", "mountPath": {}}]),
    "spec.containers[0].ports[0].containerPort": container(ports=[{"containerPort": "http"}]),
    "spec.nodeSelector.1": spec(nodeSelector={1: "x"}),
    "metadata.ownerReferences": {"metadata": {"ownerReferences": []}},
    "metadata.labels.swiftop.dev/uid": {"metadata": {"labels": {"swiftop.dev/uid": "x"}}},
    "template": {"template": {}},
    "spec": {"spec": "text"},
}


@pytest.mark.parametrize("name", ALLOWED)
def test_allowed(name: str) -> None:
    assert pod_patch_problems(ALLOWED[name]) == ()


@pytest.mark.parametrize("path", BANNED)
def test_banned(path: str) -> None:
    (problem,) = pod_patch_problems(BANNED[path])
    assert problem.path == f"spec.runtime.podPatch.{path}"


@pytest.mark.parametrize(
    ("path", "patch"),
    [
        ("metadata.labels.team", {"metadata": {"labels": {"team": 7}}}),
        ("metadata.annotations.a", {"metadata": {"annotations": {"a": True}}}),
        ("spec.nodeSelector.gpu", spec(nodeSelector={"gpu": True})),
        ("spec.containers[0].env[0].value", container(env=[{"name": "A", "value": 1}])),
        (
            "spec.initContainers[0].env[0].value",
            spec(initContainers=[{"name": "a", "env": [{"name": "A", "value": 1}]}]),
        ),
    ],
)
def test_the_api_server_takes_no_number_for_a_text(path: str, patch: dict[str, Any]) -> None:
    (problem,) = pod_patch_problems(patch)
    assert (problem.path, problem.message) == (f"spec.runtime.podPatch.{path}", "must be a text: put it in quotes")


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        (spec(runtimeClasName="nvidia"), "runtimeClassName"),
        (spec(node_selector={"a": "b"}), "nodeSelector"),
        (spec(container=[]), "containers"),
        (container(resource={}), "resources"),
        (container(volumeMount=[]), "volumeMounts"),
    ],
)
def test_a_mistyped_field_is_told_the_right_one(patch: dict[str, Any], field: str) -> None:
    (problem,) = pod_patch_problems(patch)
    assert problem.message.endswith(f"did you mean {field}?")


def test_a_container_of_its_own_has_an_image() -> None:
    """The trainer's container by another name would be a second one, which the API server refuses with the Job."""
    (problem,) = without_image(container("trainer", env=[{"name": "A", "value": "b"}]))
    assert problem.path == "spec.runtime.podPatch.spec.containers[0]"
    assert problem.suggestion == "set image, or write name: swift for the one that swiftop makes"
    (problem,) = without_image(spec(initContainers=[{"name": "prepare"}]))
    assert problem.suggestion == "set image"
    assert list(without_image(container())) == list(without_image(container("proxy", image="proxy:1"))) == []
    assert list(without_image({"spec": {"containers": [{"name": "x" * 70_000}]}})) == []


@pytest.mark.parametrize("name", ["rdma/hca_shared_devices_a", "vpc.amazonaws.com/efa"])
def test_network_devices_have_no_field_of_their_own(name: str) -> None:
    assert pod_patch_problems(container(resources={"limits": {name: 1}})) == ()


def test_a_device_is_asked_for_in_the_spec() -> None:
    (problem,) = pod_patch_problems(container(resources={"limits": {"nvidia.com/gpu": 8}}))
    assert "use spec.resources.gpus" in problem.message


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def laughs() -> dict[str, Any]:
    """A value that is small in memory and would have ten to the power of thirty members as JSON."""
    value: Any = ["ha"]
    for _ in range(30):
        value = [value] * 10
    return {"spec": {"a": value}}


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({"metadata": {"annotations": {"a": "x" * 70_000}}}, "below 64 KiB"),
        ({"metadata": {"annotations": {"x" * 70_000: "a"}}}, "below 64 KiB"),
        ({"spec": {"a": [[]] * 30_000}}, "below 4,000 keys and values"),
        ({"spec": {"a": [1] * 4_000}}, "below 4,000 keys and values"),
        (laughs(), "below 4,000 keys and values"),
        (deep(51), "within 50 levels"),
        (deep(100_000), "within 50 levels"),
    ],
)
def test_too_large(patch: dict[str, Any], words: str) -> None:
    (problem,) = pod_patch_problems(patch)
    assert problem.path == "spec.runtime.podPatch"
    assert problem.message.startswith("is too large")
    assert words in problem.message


def test_as_large_as_may_be() -> None:
    assert pod_patch_problems({"metadata": {"annotations": dict.fromkeys("abc", "x" * 16_384)}}) == ()
    assert pod_patch_problems({"spec": {"tolerations": [{"key": str(n)} for n in range(128)]}}) == ()


def test_a_misspelt_field_is_named_as_it_is_spelt() -> None:
    (problem,) = pod_patch_problems(spec(node_selector={"a": "b"}))
    assert problem.message == "is no field that a patch may set: did you mean nodeSelector?"


@pytest.mark.parametrize(
    "patch",
    [
        container(ports=[{"containerPort": 1, "hostport": 3}]),
        container(livenessProbe={"httpGet": {"port": 1, "Host": "x"}}),
    ],
)
def test_no_field_is_suggested_that_would_be_refused(patch: dict[str, Any]) -> None:
    (problem,) = pod_patch_problems(patch)
    assert problem.message == "is no field that a patch may set"
