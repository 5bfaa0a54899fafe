"""What a bare Kubernetes lacks and every real cluster has: a DNS Service, GPUs on the node, a default StorageClass.

Runs inside the cluster's namespaces. It reacts to watch events and then looks at whole lists, so that a missed event
costs nothing.
"""

import queue
import sys
import threading
import time
import urllib.request

from tools.cluster import storage
from tools.cluster.api import Api, ApiError, Object
from tools.cluster.layout import (
    DNS_SERVICE_IP,
    GPU_RESOURCE,
    NODE_IP,
    Layout,
)

_DNS_PORTS = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
RETRY_SECONDS = 0.5


def main() -> None:
    """Set everything up, then keep volumes and GPUs in order."""
    layout, gpus = Layout.of(sys.argv[1]), int(sys.argv[2])
    pki = layout.pki
    # Not by the Service's address: kube-proxy's first rules would cut off a watch that is open by then, without a word.
    api = Api.from_files("https://127.0.0.1:443", pki / "ca.crt", pki / "admin.crt", pki / "admin.key")
    api.create(storage.CLASSES, storage.storage_class(), exists_ok=True)
    changed: queue.SimpleQueue[None] = queue.SimpleQueue()
    for path in (storage.CLAIMS, storage.VOLUMES, "/api/v1/nodes"):
        threading.Thread(target=_watch, args=(api, path, changed), daemon=True).start()
    threading.Thread(target=_publish_dns, args=(api,), daemon=True).start()
    while True:
        changed.get()
        while not changed.empty():
            changed.get()
        try:
            keep_gpus(api, gpus)
            storage.reconcile(api, layout.volumes)
        except (ApiError, OSError) as error:
            print(f"retrying: {error}", flush=True)
            time.sleep(RETRY_SECONDS)
            changed.put(None)


def keep_gpus(api: Api, count: int) -> None:
    """Advertise GPUs in the node's status: the scheduler enforces them, and a kubelet that restarts drops them."""
    wanted = str(count)
    for node in api.get("/api/v1/nodes")["items"]:
        status = node["status"]
        have = {status.get(part, {}).get(GPU_RESOURCE, "0") for part in ("capacity", "allocatable")}
        if have != {wanted}:
            amount = {GPU_RESOURCE: wanted}
            api.patch(
                f"/api/v1/nodes/{node['metadata']['name']}/status",
                {"status": {"capacity": amount, "allocatable": amount}},
            )


def _watch(api: Api, path: str, changed: "queue.SimpleQueue[None]") -> None:
    while True:
        try:
            for _ in api.watch(path):
                changed.put(None)
        except (ApiError, OSError) as error:
            print(f"watch of {path} ended: {error}", flush=True)
        time.sleep(RETRY_SECONDS)


def _publish_dns(api: Api) -> None:
    while True:
        try:
            publish_dns(api)
            return
        except (ApiError, OSError):
            time.sleep(0.05)


def publish_dns(api: Api) -> None:
    """The Service's endpoint appears when CoreDNS has read the cluster, so that it also says: names resolve."""
    urllib.request.urlopen(f"http://{NODE_IP}:8181/ready", timeout=1).close()
    service: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns"},
        "spec": {"clusterIP": DNS_SERVICE_IP, "ports": _DNS_PORTS},
    }
    slice_: Object = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kube-dns", "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [NODE_IP], "conditions": {"ready": True}}],
        "ports": _DNS_PORTS,
    }
    api.create("/api/v1/namespaces/kube-system/services", service, exists_ok=True)
    api.create("/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices", slice_, exists_ok=True)


if __name__ == "__main__":
    main()
