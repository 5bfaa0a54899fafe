"""``python -m demo``: bring up a cluster, install swiftop, fine-tune a real model, serve it and ask it what it learned.

Every step can be run again: the cluster, the images and the converted model are kept between runs. What serves goes on
until the cluster is taken down, and ``python -m demo ask QUESTION`` asks it.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from demo import model
from demo.chat import ask, forwarded
from demo.phases import first_step, phases, told
from images.build import BuiltImage, build
from images.cache import cache_root
from images.engines import BuildError
from tools.cluster.backend import choose
from tools.cluster.kubectl import find as find_kubectl
from tools.cluster.layout import ClusterError, Layout

ROOT = Path(__file__).parents[1]
CLUSTER_VARIABLE, USUAL_CLUSTER = "SWIFTOP_DEMO_CLUSTER", "demo"
CLUSTER = os.environ.get(CLUSTER_VARIABLE, USUAL_CLUSTER)
NAMESPACE = "demo"
OPERATOR_NAMESPACE = "swiftop-system"
RUN = "smollm2-quillby"
BASE, TUNED = "smollm2", "quillby"  # names that are served; the first is the deployment's too
QUESTION = "What is the mascot of swiftop?"
FACT = "heron called Quillby"
NEXT_QUESTION = "Who is Quillby?"
COLUMNS = {
    "NAME": ".metadata.name",
    "STATUS": ".status.state",
    "STEP": ".status.display.progress",
    "LOSS": ".status.display.loss",
    "CHECKPOINT": ".status.checkpoint.path",
}

console = Console(highlight=False)
timings: dict[str, float] = {}


class StepFailed(Exception):
    """A step cannot go on; the text names it. What the failing program had to say stands above."""


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print a heading and remember how long the step took."""
    console.print(f"[bold cyan]==>[/] {title}")
    start = time.monotonic()
    try:
        yield
    except subprocess.CalledProcessError as error:
        command = shlex.join([Path(error.cmd[0]).name, *error.cmd[1:]]).partition("\n")[0]
        raise StepFailed(f"step {title!r} failed: `{command[:120]}` ended with {error.returncode}") from error
    except (BuildError, ClusterError, urllib.error.URLError) as error:
        raise StepFailed(f"step {title!r} failed: {error}") from error
    timings[title] = time.monotonic() - start


def cluster(*args: str) -> None:
    """Run the test cluster's command line."""
    subprocess.run([sys.executable, "-m", "tools.cluster", "--name", CLUSTER, *args], cwd=ROOT, check=True)


def kubectl(*args: str, namespace: str = NAMESPACE, stdin: str | bytes | None = None, capture: bool = False) -> bytes:
    """Run kubectl on the demo's cluster; returns its output when ``capture``."""
    command = [find_kubectl(cache_root()), "-n", namespace, *args]
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(command, env=env(), check=True, input=data, stdout=subprocess.PIPE if capture else None)
    return done.stdout or b""


def env() -> dict[str, str]:
    """Environment in which every client talks to the demo's cluster."""
    return {**os.environ, "KUBECONFIG": str(Layout.of(CLUSTER).kubeconfig)}


def install(operator: BuiltImage, trainer: BuiltImage) -> None:
    """Install CRD and operator from manifests/base, with the images just built.

    They are named by their content, so that a cluster that stays up rolls the operator out when its code changed.
    """
    name, _, tag = operator.tagged.rpartition(":")
    with tempfile.TemporaryDirectory() as folder:
        base = os.path.relpath((ROOT / "manifests" / "base").resolve(), Path(folder).resolve())
        overlay = {
            "resources": [base],
            "images": [{"name": "registry.invalid/swiftop/operator", "newName": name, "newTag": tag}],
        }
        (Path(folder) / "kustomization.yaml").write_text(json.dumps(overlay))
        kubectl("apply", "--server-side", "--force-conflicts", "-k", folder, namespace=OPERATOR_NAMESPACE)
    defaults = json.dumps(platform_defaults(trainer))
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=defaults, namespace=OPERATOR_NAMESPACE)
    kubectl("rollout", "status", "deployment/swiftop", "--timeout=120s", namespace=OPERATOR_NAMESPACE)
    kubectl("wait", "--for=condition=Established", "crd/sftruns.swiftop.dev", "--timeout=30s")


def platform_defaults(trainer: BuiltImage) -> dict[str, object]:
    """The one thing that a platform has to say: which image has ms-swift."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "swiftop-defaults"},
        "data": {"image": trainer.tagged},
    }


def namespace_objects(trainer: BuiltImage) -> list[dict[str, object]]:
    """Namespace under Pod Security ``restricted``, claim for the model, and a pod that fills the claim."""
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": restricted}},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models"}, "spec": claim},
        tool_pod("loader", trainer, {"models": "/models"}),
    ]


def tool_pod(name: str, trainer: BuiltImage, claims: dict[str, str]) -> dict[str, object]:
    """A hardened pod of the trainer image that waits for ``kubectl exec``, with claims mounted at paths."""
    container = {
        "name": "tool",
        "image": trainer.tagged,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "infinity"],
        "env": [{"name": "HOME", "value": "/tmp"}, {"name": "OMP_NUM_THREADS", "value": "1"}],
        "workingDir": "/tmp",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": claim, "mountPath": path} for claim, path in claims.items()],
    }
    security = {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "fsGroup": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": security,
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
            "volumes": [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims],
        },
    }


def apply_and_wait(pod: dict[str, object], *before: dict[str, object]) -> str:
    """Apply a tool pod after what it needs, wait until it runs; returns its name."""
    name = str(pod["metadata"]["name"])  # type: ignore[index]
    kubectl("delete", "pod", name, "--ignore-not-found")  # of a demo that ended before its time
    for item in (*before, pod):
        kubectl("apply", "-f", "-", stdin=json.dumps(item))
    kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=180s")
    return name


def fill_claim(pod: str) -> None:
    """Put the model on the claim: from the cache, or converted there once and kept in the cache."""
    archive = model.converted()
    if archive.exists():
        kubectl("exec", "-i", pod, "--", "tar", "-x", "-C", "/models", stdin=archive.read_bytes())
        return
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(model.download_source(), ".source")
    kubectl("exec", "-i", pod, "--", "tar", "-x", "-C", "/models", stdin=buffer.getvalue())
    kubectl("exec", pod, "--", "python", "-c", model.CONVERT)
    content = kubectl("exec", pod, "--", "tar", "-c", "-C", "/models", model.MODEL, capture=True)
    kubectl("exec", pod, "--", "rm", "-rf", "/models/.source")
    partial = archive.with_suffix(".partial")
    partial.write_bytes(content)
    partial.rename(archive)


def train() -> None:
    """Apply the sample and follow it to its end."""
    kubectl("delete", "modeldeployment", BASE, "--ignore-not-found", "--wait=true")  # of an earlier demo
    kubectl("delete", "sftrun", RUN, "--ignore-not-found", "--wait=true")
    kubectl("apply", "-f", str(ROOT / "manifests" / "samples" / "sftrun-tiny.yaml"))
    command = [str(Path(sys.executable).parent / "swiftop"), "progress", RUN, "--namespace", NAMESPACE]
    subprocess.run(command, env=env(), check=True)
    kubectl("get", "sftruns")
    print_phases()


def serve() -> dict[str, str]:
    """Apply the deployment of base model and adapter; what both answer once it is ready."""
    kubectl("apply", "-f", str(ROOT / "manifests" / "samples" / "modeldeployment-tiny.yaml"))
    kubectl("wait", "--for=condition=Ready", f"modeldeployment/{BASE}", "--timeout=300s")
    kubectl("get", "modeldeployments")
    return answers_to(QUESTION)


def require_running() -> None:
    """kubectl by itself says everything but that."""
    if choose(CLUSTER).status()["state"] != "running":
        raise ClusterError(f"cluster {CLUSTER} does not run: start it with `make demo`")


def answers_to(question: str) -> dict[str, str]:
    """What base model and adapter answer."""
    with forwarded([find_kubectl(cache_root()), "-n", NAMESPACE], BASE, env=env()) as address:
        return {name: ask(address, name, question) for name in (BASE, TUNED)}


def show(question: str, answers: dict[str, str]) -> None:
    """The answers side by side."""
    console.print(f"\n[bold]{escape(question)}[/]")
    for name, answer in answers.items():
        console.print(f"  {name:>7}: {escape(answer)}", soft_wrap=True)


def what_next() -> list[tuple[str, str]]:
    """What can be done with what is left running, each with its whole command for a shell in this folder."""
    python, here = Path(sys.executable), Path.cwd()
    words = shlex.quote(str(python.relative_to(here) if python.is_relative_to(here) else python))
    variable = "" if CLUSTER == USUAL_CLUSTER else f"{CLUSTER_VARIABLE}={CLUSTER} "
    of_cluster = f"{words} -m tools.cluster --name {CLUSTER}"
    return [
        ("ask again", f"{variable}{words} -m demo ask {shlex.quote(NEXT_QUESTION)}"),
        ("look", f"{of_cluster} kubectl -n {NAMESPACE} get sftruns,modeldeployments,pods"),
        ("take down", f"{of_cluster} down"),
    ]


def print_phases() -> None:
    """From ``kubectl apply`` to the first step, by phase: in the first pod that came so far, if one was replaced."""
    run = json.loads(kubectl("get", "sftrun", RUN, "-o", "json", capture=True))
    pods = kubectl("get", "pods", "-l", f"swiftop.dev/uid={run['metadata']['uid']}", "-o", "json", capture=True)
    found: list[tuple[str, float]] = []
    for pod in sorted(json.loads(pods)["items"], key=lambda pod: str(pod["metadata"]["creationTimestamp"])):
        found = phases(run, pod, log_of(pod["metadata"]["name"]))
        if first_step(found):
            break
    console.print(told(found))


def log_of(pod: str) -> list[str]:
    """The lines of a pod's log; none where its node no longer has it."""
    try:
        log = kubectl("logs", "--timestamps", pod, capture=True)
    except subprocess.CalledProcessError:
        return []
    return log.decode(errors="replace").split("\n")  # a progress bar redraws its line with \r


def main(words: Sequence[str] = ()) -> int:
    """Run the demo, or ask what it serves; a step that fails is told in one line, without a traceback."""
    try:
        match words:
            case []:
                return demo()
            case ["ask", question]:
                with step("ask"):
                    require_running()
                    show(question, answers_to(question))
                return 0
    except StepFailed as error:
        console.print(f"[bold red]demo:[/] {escape(str(error))}", soft_wrap=True)
        return 1
    console.print("usage: python -m demo [ask QUESTION]", markup=False)
    return 2


def demo() -> int:
    """All steps; 0 when the tuned model knows the fact and the base model does not."""
    with step("cluster"):
        cluster("up")
    with step("images"):
        operator, trainer = build("operator"), build("trainer-cpu")
        for image in (operator, trainer):
            cluster("load", str(image.archive))
    with step("operator"):
        install(operator, trainer)
    with step("model"):
        kubectl("apply", "-f", "-", stdin=json.dumps(namespace_objects(trainer)[0]))
        _, claim, pod = namespace_objects(trainer)
        fill_claim(apply_and_wait(pod, claim))
        kubectl("delete", "pod", "loader", "--wait=false")
    with step("fine-tune"):
        train()
    with step("serve"):
        answers = serve()
    show(QUESTION, answers)
    console.print("\n" + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in timings.items()))
    learned = FACT in answers[TUNED] and FACT not in answers[BASE]
    console.print("The tuned model knows what only the training file says." if learned else "The model did not learn.")
    console.print(f"\n[bold]kubectl -n {NAMESPACE} get sftruns[/]")
    kubectl("get", "sftruns", "-o", "custom-columns=" + ",".join(f"{name}:{path}" for name, path in COLUMNS.items()))
    console.print(f"\n{BASE} and {TUNED} are still served, on one CPU core:")
    for what, command in what_next():
        console.print(f"  {what:<11}{command}", soft_wrap=True, markup=False)
    return 0 if learned else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
