"""The configuration of every component, rendered from a layout. Pure: the same input gives the same bytes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cluster.layout import (
    API_SERVICE_IP,
    DNS_DOMAIN,
    DNS_SERVICE_IP,
    NODE_IP,
    NODE_NAME,
    POD_CIDR,
    SERVICE_CIDR,
    Layout,
    Options,
)

PAUSE_IMAGE = "localhost/pause:1"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
ETCD_URL = "http://127.0.0.1:2379"


@dataclass(frozen=True)
class Binaries:
    """The directories that the builder filled, one per component."""

    kubernetes: Path
    containerd: Path
    runc: Path
    cni: Path
    etcd: Path
    coredns: Path
    pause: Path

    @property
    def kubenode(self) -> str:
        """The one binary of all Kubernetes components."""
        return str(self.kubernetes / "kubenode")


def containerd_config(layout: Layout, binaries: Binaries) -> str:
    """No AppArmor and no lowered OOM scores: neither is there without a full set of capabilities."""
    return f"""\
version = 3
root = "{layout.images}"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins.'io.containerd.internal.v1.opt']
  path = "{layout.volatile / "opt"}"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "{binaries.runc / "runc"}"
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["{binaries.cni}"]
    conf_dir = "{layout.config / "cni"}"
"""


def cni_config() -> str:
    """One bridge; hairpin mode lets a pod reach itself through its Service."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": "/run/containerd/ipam",
            "ranges": [[{"subnet": POD_CIDR, "gateway": NODE_IP}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return json.dumps({"cniVersion": "1.0.0", "name": "bridge", "plugins": [bridge]})


def kubelet_config(layout: Layout) -> str:
    """A kubelet that works with cgroup v1 and v2, without swap rules and without deleting images."""
    pki = layout.pki
    return _yaml(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(pki / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(pki / "kubelet.crt"),
            "tlsPrivateKeyFile": str(pki / "kubelet.key"),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": layout.cgroup,
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "podLogsDir": str(layout.volatile / "pod-logs"),
            "resolvConf": str(layout.config / "resolv.conf"),
            "volumePluginDir": str(layout.config / "volume-plugins"),
            "failSwapOn": False,
            "failCgroupV1": False,
            "oomScoreAdj": 0,
            "nodeStatusUpdateFrequency": "2s",
            "syncFrequency": "5s",
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi"},
            "clusterDNS": [DNS_SERVICE_IP],
            "clusterDomain": DNS_DOMAIN,
            "makeIPTablesUtilChains": False,
        }
    )


def proxy_config(layout: Layout) -> str:
    """The nftables mode: it needs no kernel module and no iptables binary."""
    return _yaml(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": str(layout.pki / "admin.kubeconfig")},
            "clusterCIDR": POD_CIDR,
            "hostnameOverride": NODE_NAME,
            "conntrack": {"maxPerCore": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
        }
    )


def corefile(layout: Layout) -> str:
    """`ttl 30` and `cache 30` as kubeadm sets them: a test cluster that forgets faster would hide stale names."""
    return f"""\
.:53 {{
  bind {NODE_IP}
  errors
  ready
  kubernetes {DNS_DOMAIN} {{
    kubeconfig {layout.pki / "admin.kubeconfig"}
    pods insecure
    ttl 30
  }}
  cache 30
}}
"""


def audit_policy() -> str:
    """Who did what to which object: enough to count API writes."""
    return _yaml(
        {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata"}],
        }
    )


def render(layout: Layout, binaries: Binaries) -> dict[str, str]:
    """All configuration files, by their path below `layout.config`."""
    return {
        "containerd.toml": containerd_config(layout, binaries),
        "cni/10-bridge.conflist": cni_config(),
        "kubelet.yaml": kubelet_config(layout),
        "proxy.yaml": proxy_config(layout),
        "Corefile": corefile(layout),
        "audit.yaml": audit_policy(),
        # A pod resolves names of the cluster and nothing else: the host's search domains would only slow it down.
        "resolv.conf": "# empty: a cluster without a way out\n",
    }


def etcd_command(layout: Layout, binaries: Binaries) -> list[str]:
    """Without fsync: nothing in this etcd outlives the cluster."""
    return [
        str(binaries.etcd / "etcd"),
        f"--data-dir={layout.volatile / 'etcd'}",
        f"--listen-client-urls={ETCD_URL}",
        f"--advertise-client-urls={ETCD_URL}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver_command(layout: Layout, binaries: Binaries, options: Options) -> list[str]:
    """Defaults wherever possible, Pod Security admission among them."""
    pki = layout.pki
    command = [
        binaries.kubenode,
        "kube-apiserver",
        f"--etcd-servers={ETCD_URL}",
        "--bind-address=0.0.0.0",
        "--secure-port=443",
        f"--advertise-address={NODE_IP}",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--service-account-issuer=https://kubernetes.default.svc.{DNS_DOMAIN}",
        f"--service-account-signing-key-file={pki}/sa.key",
        f"--service-account-key-file={pki}/sa.pub",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki}/front-proxy.crt",
        f"--proxy-client-key-file={pki}/front-proxy.key",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--enable-admission-plugins=NodeRestriction",
    ]
    if options.audit:
        command += [f"--audit-policy-file={layout.config}/audit.yaml", f"--audit-log-path={layout.audit_log}"]
    return command


def controller_manager_command(layout: Layout, binaries: Binaries) -> list[str]:
    """A node that stops reporting is noticed after 16 s, so that tests of a lost node need not wait a minute."""
    pki = layout.pki
    kubeconfig = pki / "controller-manager.kubeconfig"
    return [
        binaries.kubenode,
        "kube-controller-manager",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--use-service-account-credentials",
        "--kube-api-burst=200",  # fetching forty controllers' tokens at the usual 20/s takes 5 s of the boot
        f"--service-account-private-key-file={pki}/sa.key",
        f"--root-ca-file={pki}/ca.crt",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--node-monitor-period=2s",
        "--node-monitor-grace-period=16s",
    ]


def scheduler_command(layout: Layout, binaries: Binaries) -> list[str]:
    """The default scheduler with its default profile."""
    kubeconfig = layout.pki / "scheduler.kubeconfig"
    return [
        binaries.kubenode,
        "kube-scheduler",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    ]


def kubelet_command(layout: Layout, binaries: Binaries) -> list[str]:
    """The node's agent; its pods' files lie in the cluster's own directory, bound to the usual place."""
    return [
        binaries.kubenode,
        "kubelet",
        f"--config={layout.config}/kubelet.yaml",
        f"--kubeconfig={layout.pki}/kubelet.kubeconfig",
        "--root-dir=/var/lib/kubelet",
        f"--cert-dir={layout.volatile}/kubelet-pki",
        f"--node-ip={NODE_IP}",
        f"--hostname-override={NODE_NAME}",
    ]


def proxy_command(layout: Layout, binaries: Binaries) -> list[str]:
    """Makes cluster IPs work."""
    return [binaries.kubenode, "kube-proxy", f"--config={layout.config}/proxy.yaml"]


def containerd_command(layout: Layout, binaries: Binaries) -> list[str]:
    """The container runtime."""
    return [str(binaries.containerd / "containerd"), "-c", str(layout.config / "containerd.toml")]


def coredns_command(layout: Layout, binaries: Binaries) -> list[str]:
    """Names of Services and pods."""
    return [str(binaries.coredns / "coredns"), "-conf", str(layout.config / "Corefile")]


def network_commands() -> list[list[str]]:
    """The cluster's own network: no way out, the API server's Service address on loopback."""
    return [
        ["ip", "link", "set", "lo", "up"],
        # Else it has the lowest address of its ports: another one when that pod goes, and pods answer to the old one.
        ["ip", "link", "add", "cni0", "address", "02:00:0a:f4:00:01", "type", "bridge"],
        ["ip", "addr", "add", f"{NODE_IP}/24", "dev", "cni0"],
        ["ip", "link", "set", "cni0", "up"],
        ["ip", "addr", "add", f"{API_SERVICE_IP}/32", "dev", "lo"],
    ]


def _yaml(document: dict[str, Any]) -> str:
    """JSON is YAML."""
    return json.dumps(document, indent=2) + "\n"
