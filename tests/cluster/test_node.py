"""What a pod can rely on in the test cluster, because it can rely on it in a real one."""

import signal
from pathlib import Path

import pytest

from tests.cluster.fixture import KubectlError, RunningCluster
from tests.cluster.pods import claim, eventually, pod, service
from tools.cluster.layout import GPU_RESOURCE

pytestmark = pytest.mark.cluster


def phase(cluster: RunningCluster, namespace: str, name: str) -> str:
    return str(cluster.get("pod", name, "-n", namespace)["status"]["phase"])


def succeed(cluster: RunningCluster, namespace: str, *names: str) -> None:
    for name in names:
        eventually(lambda name=name: phase(cluster, namespace, name) in {"Succeeded", "Failed"}, f"{name} ends")  # type: ignore[misc]
        assert phase(cluster, namespace, name) == "Succeeded", cluster.kubectl("logs", name, "-n", namespace)


def test_claims_of_both_access_modes_bind_and_are_deleted_with_their_data(
    cluster: RunningCluster, namespace: str
) -> None:
    cluster.apply(
        claim(namespace, "one", "ReadWriteOnce"),
        claim(namespace, "many", "ReadWriteMany"),
        pod(namespace, "writer", "echo 1 > /one/x && echo 2 > /many/x", claims={"one": "/one", "many": "/many"}),
    )
    succeed(cluster, namespace, "writer")
    cluster.apply(pod(namespace, "reader", "test $(cat /many/x) = 2", claims={"many": "/many"}))
    succeed(cluster, namespace, "reader")
    volumes = [
        volume
        for volume in cluster.get("pv")["items"]
        if volume["spec"].get("claimRef", {}).get("namespace") == namespace
    ]
    directories = [Path(volume["spec"]["hostPath"]["path"]) for volume in volumes]
    assert len(directories) == 2
    cluster.kubectl("delete", "pod", "--all", "-n", namespace)
    cluster.kubectl("delete", "pvc", "--all", "-n", namespace)
    for volume in volumes:
        cluster.kubectl("wait", "--for=delete", f"pv/{volume['metadata']['name']}", "--timeout=30s")
    assert not [directory for directory in directories if directory.exists()]


def test_gpus_are_enforced_and_survive_a_kubelet(cluster: RunningCluster, namespace: str) -> None:
    node = cluster.get("nodes")["items"][0]["metadata"]["name"]
    cluster.apply(
        pod(namespace, "first", "sleep 600", gpus=5),
        pod(namespace, "second", "true", gpus=5),
    )
    cluster.kubectl("wait", "--for=condition=Ready", "pod/first", "-n", namespace, "--timeout=60s")
    cluster.kubectl("wait", "--for=condition=PodScheduled=false", "pod/second", "-n", namespace, "--timeout=60s")
    conditions = cluster.get("pod", "second", "-n", namespace)["status"]["conditions"]
    assert f"Insufficient {GPU_RESOURCE}" in conditions[0]["message"]
    cluster.kubectl(
        "patch", "node", node, "--subresource=status", "--type=merge", "-p",
        f'{{"status":{{"capacity":{{"{GPU_RESOURCE}":"0"}},"allocatable":{{"{GPU_RESOURCE}":"0"}}}}}}',
    )  # fmt: skip
    cluster.signal("kubelet", signal.SIGKILL)
    cluster.kubectl("delete", "pod", "first", "-n", namespace)
    succeed(cluster, namespace, "second")
    assert cluster.get("node", node)["status"]["allocatable"][GPU_RESOURCE] == "8"


def test_names_services_and_the_api_server_can_be_reached(cluster: RunningCluster, namespace: str) -> None:
    server = "mkdir -p /tmp/w && echo hello > /tmp/w/index.html && exec httpd -f -p 8000 -h /tmp/w"
    name = f"web-0.web.{namespace}.svc.cluster.local"
    cluster.apply(
        service(namespace, "web", "web", [{"port": 8000}], clusterIP="None", publishNotReadyAddresses=True),
        service(namespace, "balanced", "web", [{"port": 80, "targetPort": 8000}]),
        pod(namespace, "web", server, hostname="web-0", subdomain="web"),
    )
    cluster.kubectl("wait", "--for=condition=Ready", "pod/web", "-n", namespace, "--timeout=60s")
    # A name that was asked for too early is remembered as unknown for some seconds, here as in a real cluster.
    patient = "n=0; until {} || [ $n = 40 ]; do n=$((n+1)); sleep 1; done; [ $n -lt 40 ]"
    checks = [
        f"wget -qO- http://{name}:8000/index.html",
        "wget -qO- http://balanced/index.html",
        "nc -w 3 kubernetes.default.svc 443 </dev/null",
        "nc -w 3 10.96.0.1 443 </dev/null",
    ]
    cluster.apply(pod(namespace, "client", " && ".join(f"({patient.format(check)})" for check in checks)))
    succeed(cluster, namespace, "client")
    assert cluster.kubectl("logs", "client", "-n", namespace).split() == ["hello", "hello"]


def test_pod_security_is_enforced(cluster: RunningCluster, namespace: str) -> None:
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        cluster.apply(pod(namespace, "plain", "true"))


def test_the_api_server_comes_back(cluster: RunningCluster, namespace: str) -> None:
    cluster.signal("kube-apiserver", signal.SIGKILL)

    def answers() -> bool:
        try:
            return namespace in cluster.kubectl("get", "namespace", namespace)
        except KubectlError:
            return False

    eventually(answers, "the API server answers again")
