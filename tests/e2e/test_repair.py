"""A run that waits is repaired in place: what it suggests is done, the API server accepts it, and the run goes on.

Goes on: a container of it has started, in its first attempt. It then ends at once, since it may not write its output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from tests.e2e import objects
from tests.e2e.objects import SPARE, changed, hardened, on_claim, sftrun
from tests.e2e.site import HUB_DATASET, HUB_MODEL, Site
from tests.e2e.support import Kubectl, Object, eventually

ELSEWHERE = "e2e-repair"  # a namespace with a quota and with defaults of its own
LOCKED = on_claim("locked", objects.RUNS)
NOWHERE = "localhost:1/nothing:1"
CHATS = "repair-chats"
ROW = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'

Repair = Callable[[Site], None]


class Case(NamedTuple):
    """A run that waits, what it says, and what a person then does."""

    run: Object
    reason: str
    suggestion: str  # a part of it that names what to edit
    repair: Repair


def waiting(name: str, **spec: Any) -> Object:
    """Run that ends as soon as it has started."""
    return sftrun(name, **{"cpu": SPARE, "output": LOCKED, **spec})


def edited(name: str, **spec: Any) -> Repair:
    """An edit of the spec; None removes a member."""
    return lambda site: site.patch(name, **spec)


def patched(name: str, pod: Object | None) -> Repair:
    """An edit of the pod patch."""
    return edited(name, runtime={"podPatch": pod})


def chats(name: str, key: str) -> list[Object]:
    """Dataset in a ConfigMap."""
    return [{"configMap": {"name": name, "key": key}}]


def with_key(site: Site) -> None:
    """Add the key to the ConfigMap."""
    site.kubectl.apply(objects.config_map(CHATS, {"first.jsonl": ROW, "second.jsonl": ROW}))


def with_class(site: Site) -> None:
    """Fix the storage class, and delete the claim that keeps the old one."""
    site.patch("no-class", output={"volume": {"size": "1Gi", "storageClassName": "standard"}})
    site.kubectl.delete("pvc", "no-class-output")


def without_stranger(site: Site) -> None:
    """Delete what has the name of a child."""
    site.kubectl.delete("job", "squatted-1")


def stranger(name: str) -> Object:
    """A Job that nobody runs, with the name of a run's own."""
    container = {"name": "main", "image": NOWHERE}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    spec = {"suspend": True, "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def cases(image: str) -> list[Case]:
    """Each suggestion of a run that waits, as far as it is done in this namespace."""
    unpulled = {"initContainers": [hardened("prepare", image=NOWHERE, script="true")]}
    refused = {"containers": [{"name": "swift", "ports": [{"name": "NOT_A_NAME", "containerPort": 9000}]}]}
    return [
        Case(waiting("squatted"), "NameConflict", "delete it", without_stranger),
        Case(
            waiting("bad-image", runtime={"image": NOWHERE}),
            "ImagePullFailed",
            "spec.runtime.image",
            edited("bad-image", runtime={"image": image}),
        ),
        Case(
            waiting("bad-init-image", runtime={"podPatch": {"spec": unpulled}}),
            "ImagePullFailed",
            "spec.runtime.podPatch",
            patched("bad-init-image", {"spec": {"initContainers": [hardened("prepare", image=image, script="true")]}}),
        ),
        Case(
            waiting("many-gpus", gpus=64),
            "InsufficientGPU",
            "spec.resources.gpus",
            edited("many-gpus", resources={"gpus": 1}),
        ),
        Case(
            waiting("many-cpus", cpu="500"),
            "InsufficientCPU",
            "spec.resources.cpu",
            edited("many-cpus", resources={"cpu": SPARE}),
        ),
        Case(
            waiting("bad-claim", output=on_claim("", "nowhere")),
            "ClaimMissing",
            "fix its name in the spec",
            edited("bad-claim", output=LOCKED),
        ),
        Case(
            waiting("no-class", output={"volume": {"size": "1Gi", "storageClassName": "nowhere"}}),
            "VolumePending",
            "spec.output.volume.storageClassName",
            with_class,
        ),
        Case(
            waiting("no-key", datasets=chats(CHATS, "second.jsonl")),
            "ConfigMapMissing",
            "add the key to the ConfigMap",
            with_key,
        ),
        Case(
            waiting("bad-config-map", datasets=chats("nowhere", "first.jsonl")),
            "ConfigMapMissing",
            "make it in this namespace",
            edited("bad-config-map", datasets=chats(CHATS, "first.jsonl")),
        ),
        Case(
            waiting("no-class-of-priority", placement={"priorityClassName": "nowhere"}),
            "PodRefused",
            "spec.placement.priorityClassName",
            edited("no-class-of-priority", placement={"priorityClassName": None}),
        ),
        Case(
            waiting("bad-pod", runtime={"podPatch": {"spec": refused}}),
            "InvalidSpec",
            "ports",
            patched("bad-pod", None),
        ),
        Case(
            waiting("bad-flag", extraArgs=[{"name": "vit_lrr", "value": "1e-5"}]),
            "UnknownFlag",
            "did you mean vit_lr?",
            edited("bad-flag", extraArgs=[{"name": "vit_lr", "value": "1e-5"}]),
        ),
        Case(
            waiting("bad-version", runtime={"swiftVersion": "4.5", "image": image}),
            "UnsupportedVersion",
            "4.6",
            edited("bad-version", runtime={"swiftVersion": "4.6"}),
        ),
    ]


NAMES = [case.run["metadata"]["name"] for case in cases("any")]


def job_of(site: Site, name: str) -> str:
    """UID of the Job of the first attempt, empty when there is none of the run's own."""
    jobs = site.kubectl.items("jobs", f"swiftop.dev/name={name}")
    assert [job["metadata"]["name"] for job in jobs] in ([], [f"{name}-1"])
    return jobs[0]["metadata"]["uid"] if jobs else ""


def goes_on(site: Site, name: str, *, seconds: float = 90) -> Object:
    """The run once a container of it has started."""

    def found() -> Object | None:
        run = site.run(name)
        return run if "startTime" in run["status"] else None

    what = f"a container of {name} starts"
    return eventually(found, what=what, seconds=seconds, explain=lambda: site.story(name))


class Before(NamedTuple):
    """A run in the moment before its repair."""

    told: Mapping[str, Any]  # the summary
    job: str
    generation: int


def repaired(site: Site, case: Case) -> Before:
    """Do what the run suggests, once it does."""
    name = case.run["metadata"]["name"]
    told = site.with_reason(name, case.reason, told=case.suggestion)
    before = Before(told, job_of(site, name), site.run(name)["metadata"]["generation"])
    case.repair(site)
    return before


@pytest.fixture(scope="module")
def repairs(site: Site) -> Iterator[dict[str, Before | AssertionError]]:
    """All runs, repaired one after the other while the others wait or go on; an error is its run's alone."""
    found: dict[str, Before | AssertionError] = {}
    waiting_runs = cases(site.trainer)
    site.kubectl.apply(
        objects.config_map(CHATS, {"first.jsonl": ROW}),
        stranger("squatted-1"),
        *(case.run for case in waiting_runs),
    )
    for name, case in zip(NAMES, waiting_runs, strict=True):
        try:
            found[name] = repaired(site, case)
        except AssertionError as error:
            found[name] = error
    yield found
    site.remove(*NAMES)


@pytest.mark.cluster
@pytest.mark.parametrize("name", NAMES)
def test_what_a_waiting_run_suggests_makes_it_go_on(
    repairs: dict[str, Before | AssertionError], site: Site, name: str
) -> None:
    """In the same attempt; a Job that was made already is replaced when the spec was edited."""
    before = repairs[name]
    if isinstance(before, AssertionError):
        raise before
    assert before.told["status"] == "Unknown"
    run = goes_on(site, name)
    assert run["status"]["attempts"] == 1
    if before.job and run["metadata"]["generation"] > before.generation:
        assert job_of(site, name) not in ("", before.job)


@pytest.fixture
def elsewhere(site: Site) -> Iterator[Site]:
    """A namespace whose quota has no room for a GPU, and whose defaults cannot be read."""
    kubectl: Kubectl = site.kubectl.within(ELSEWHERE)
    kubectl.delete("namespace", ELSEWHERE)
    kubectl.create(objects.namespace(ELSEWHERE))
    hard = {"requests.nvidia.com/gpu": "0"}
    kubectl.create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"}, "spec": {"hard": hard}})
    eventually(
        lambda: (kubectl.get("resourcequota", "team") or {}).get("status", {}).get("hard"),
        what="the quota is in force",
        seconds=30,
    )
    yield Site(kubectl, site.trainer)
    kubectl("delete", "namespace", ELSEWHERE, "--wait=false")


@pytest.mark.cluster
def test_bad_defaults_a_missing_image_and_a_full_quota_are_repaired_one_after_the_other(elsewhere: Site) -> None:
    """As a person meets them: each repair shows the next obstacle, until the run starts."""
    bad = objects.config_map("swiftop-defaults", {"swiftVersion": "3.7", "images": "not a map"})
    run = waiting(
        "thrice",
        gpus=1,
        model={"id": HUB_MODEL},
        datasets=[{"id": HUB_DATASET}],
        output={"ephemeral": True},
        runtime={"swiftVersion": "4.6"},
    )
    elsewhere.kubectl.apply(bad, run)
    assert "swiftop-defaults" in elsewhere.with_reason("thrice", "InvalidDefaults", type_="Stalled")["message"]
    # The namespace's version is another one than the platform's image has.
    elsewhere.kubectl.apply(objects.config_map("swiftop-defaults", {"swiftVersion": "3.7"}))
    assert "spec.runtime.image" in elsewhere.with_reason("thrice", "ImageMissing", type_="Stalled")["message"]
    elsewhere.patch("thrice", runtime={"image": elsewhere.trainer})
    assert "spec.resources" in elsewhere.with_reason("thrice", "QuotaExceeded")["message"]
    job = job_of(elsewhere, "thrice")
    elsewhere.kubectl.apply(changed(run, runtime={"image": elsewhere.trainer}, resources={"gpus": 0, "cpu": SPARE}))
    assert goes_on(elsewhere, "thrice")["status"]["attempts"] == 1
    assert job_of(elsewhere, "thrice") not in ("", job)
