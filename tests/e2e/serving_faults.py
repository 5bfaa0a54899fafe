"""Stories of what serves and to which something happens. All are played at once, since each waits most of its time."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from tests.e2e import objects
from tests.e2e.endpoint import KEY, Endpoint, Load, behind_key, says, served
from tests.e2e.node import Node
from tests.e2e.objects import on_claim, small
from tests.e2e.probe import light
from tests.e2e.site import Site, condition
from tests.e2e.stories import Act, Now, Story
from tests.e2e.support import CommandFailed, Object

KEPT, HUNG, UNFIT, LOST, PAIR = "kept", "hung", "unfit", "lost", "pair"
QUESTION = "river?"
ADAPTERS = "adapters"  # folder of the library
MODEL = on_claim(objects.MODEL)
TOO_LITTLE = {"resources": small("320Mi")}
ENOUGH = {"resources": small("3Gi")}
GATED = {"rollout": {"gate": {"prompts": [{"prompt": QUESTION, "contains": "what it was never taught"}]}}}
LATE_SECRET = "served-late"  # goes and comes again
TINY_ADAPTERS = f"""
python /fakes/tiny_adapters.py --model /{objects.LIBRARY}/{objects.MODEL} --out /tmp/{ADAPTERS} &&
cp -r /tmp/{ADAPTERS} /{objects.LIBRARY}/
"""


@dataclass
class Seen:
    """In passing."""

    states: dict[str, Object] = field(default_factory=dict)  # deployments, by what was waited for
    answers: dict[str, Any] = field(default_factory=dict)
    pods: dict[str, Object] = field(default_factory=dict)
    autoscaler: Object = field(default_factory=dict)
    refused: str = ""  # of a second eviction
    load: dict[str, list[Object]] = field(default_factory=dict)


@dataclass
class Faults:
    """What the stories are played on."""

    site: Site
    node: Node
    seen: Seen = field(default_factory=Seen)
    _load: list[Load] = field(default_factory=list)

    def prepare(self) -> None:
        """Make adapters, good and bad, and the key that goes."""
        self.site.shell(TINY_ADAPTERS)
        self.site.kubectl.apply(objects.secret(LATE_SECRET, {"KEY": KEY}))

    def endpoint(self, name: str) -> Endpoint:
        """One deployment."""
        return Endpoint(self.site, name)

    def keep(self, name: str, what: str, now: Now) -> None:
        """Remember how it is."""
        self.seen.states[what] = now[name]

    # What is waited for

    def once(self, name: str, said: tuple[str, str, str], do: Callable[[Now], object], *, told: str = "") -> Act:
        """Do it when a condition says so (type, status, reason) of the spec as it is, its message with these words."""
        type_, _, reason = said

        def act(now: Now, _held: Collection[str]) -> bool:
            found = now.get(name, {})
            if not says(found, *said) or told not in condition(found, type_)["message"]:
                return False
            self.keep(name, f"{name} {reason} {told}".rstrip(), now)
            do(now)
            return True

        return act

    def rolled_out(self, name: str, do: Callable[[Now], object]) -> Act:
        """Do it when all replicas are as the spec says."""
        return self.once(name, ("Progressing", "True", "RolledOut"), do)

    def replicas(self, name: str, text: str, do: Callable[[], object]) -> Act:
        """Do it when its column says so."""

        def act(now: Now, _held: Collection[str]) -> bool:
            if now.get(name, {}).get("status", {}).get("display", {}).get("replicas") != text:
                return False
            self.keep(name, f"{name} {text}", now)
            do()
            return True

        return act


def kept(faults: Faults) -> Story:
    """A newer revision has too little memory, one after it answers wrongly; then it is scaled, by its own scale
    subresource."""
    one, kubectl, seen = faults.endpoint(KEPT), faults.site.kubectl, faults.seen

    def scale(replicas: int) -> None:
        kubectl("scale", "modeldeployment", KEPT, f"--replicas={replicas}")

    def go_on(what: str, **spec: Any) -> None:
        seen.answers[f"kept, beside a revision {what}"] = one.ask(QUESTION)
        one.patch(**spec)

    acts = (
        faults.rolled_out(KEPT, lambda _now: one.patch(**TOO_LITTLE)),
        faults.once(
            KEPT,
            ("Progressing", "False", "HostOutOfMemory"),
            lambda _now: go_on("without memory", **ENOUGH, **GATED),
        ),
        faults.once(KEPT, ("Progressing", "False", "GateFailed"), lambda _now: go_on("that is shut out", rollout=None)),
        faults.rolled_out(KEPT, lambda _now: scale(2)),
        faults.replicas(KEPT, "1/2", lambda: scale(0)),
        faults.once(KEPT, ("Ready", "False", "ScaledToZero"), lambda _now: None),
    )
    return Story(KEPT, lambda _now: served(KEPT, MODEL), acts, serves=True)


def hung(faults: Faults) -> Story:
    """Its guard hangs, and the Secret of its key is gone when it is started again."""
    one, kubectl, seen = faults.endpoint(HUNG), faults.site.kubectl, faults.seen

    def hang(_now: Now) -> None:
        kubectl.delete("secret", LATE_SECRET)
        faults.node.stop_guard(one.pod)

    def give_back(_now: Now) -> None:
        seen.pods["hung, ended"] = one.pod
        kubectl.apply(objects.secret(LATE_SECRET, {"KEY": KEY}))

    def ask(_now: Now) -> None:
        seen.pods["hung, again"] = one.pod
        seen.answers["hung, again"] = one.ask(QUESTION)

    acts = (
        faults.rolled_out(HUNG, hang),
        faults.once(HUNG, ("Ready", "False", "SecretMissing"), give_back),
        faults.once(HUNG, ("Ready", "False", "EngineStalled"), lambda _now: None),
        faults.rolled_out(HUNG, ask),
    )
    return Story(HUNG, lambda _now: served(HUNG, MODEL, **behind_key(LATE_SECRET)), acts, serves=True)


def unfit(faults: Faults) -> Story:
    """Two of its adapters are no good: one is half a file, one was made for a deeper model. Each is mended."""
    one, seen = faults.endpoint(UNFIT), faults.seen

    def adapter(name: str, folder: str) -> Object:
        return {"name": name, **on_claim(f"{ADAPTERS}/{folder}")}

    def ask(_now: Now) -> None:
        seen.answers["unfit, mended"] = one.ask(QUESTION)

    def mend(*adapters: Object) -> Callable[[Now], None]:
        return lambda _now: one.patch(adapters=list(adapters))

    first, second = adapter("first", "cut"), adapter("second", "deep")
    bad = ("AdaptersLoaded", "False", "AdapterNotLoaded")
    acts = (
        faults.once(UNFIT, bad, mend(adapter("first", "ada"), second), told="first"),
        faults.once(UNFIT, bad, mend(adapter("first", "ada"), adapter("second", "bob")), told="second"),
        faults.rolled_out(UNFIT, ask),
    )
    return Story(UNFIT, lambda _now: served(UNFIT, MODEL, adapters=[first, second]), acts, serves=True)


def lost(faults: Faults) -> Story:
    """Its model is not where the spec says; once it is mended others decide on the number of replicas."""
    one, kubectl, seen = faults.endpoint(LOST), faults.site.kubectl, faults.seen

    def autoscaled(_now: Now) -> None:
        seen.autoscaler = kubectl.get("hpa", f"{LOST}-mdep") or {}
        kubectl("scale", "deployment", f"{LOST}-mdep", "--replicas=2")  # as the autoscaler does

    def look() -> None:
        found = kubectl.get("deployment", f"{LOST}-mdep")
        assert found is not None
        assert found["spec"]["replicas"] == 2
        kubectl.delete("modeldeployment", LOST)

    def mend(_now: Now) -> None:
        one.patch(model=MODEL, autoscaling={"min": 1, "max": 3, "target": 4})

    acts = (
        faults.once(LOST, ("Ready", "False", "ModelNotFound"), mend),
        faults.rolled_out(LOST, autoscaled),
        faults.replicas(LOST, "1/2", look),
    )
    return Story(LOST, lambda _now: served(LOST, on_claim("models/nowhere")), acts, serves=True)


def pair(faults: Faults) -> Story:
    """Two replicas under load: one is evicted, then both are updated; at last a pod is killed with its node."""
    one, site, seen, load = faults.endpoint(PAIR), faults.site, faults.seen, faults._load

    def evict(_now: Now) -> None:
        load[0].wait()
        first, second = one.pods
        seen.pods["pair, evicted"] = first
        site.evict(first)
        try:
            site.evict(second)
        except CommandFailed as error:
            seen.refused = str(error)

    def update(now: Now, _held: Collection[str]) -> bool:
        """Once both are there again."""
        known = [pod["metadata"]["uid"] for pod in one.pods]
        if len(known) != 2 or seen.pods["pair, evicted"]["metadata"]["uid"] in known:
            return False
        if not says(now[PAIR], "Progressing", "True", "RolledOut"):
            return False
        one.patch(runtime=light([{"name": "NOTE", "value": "second"}]))
        return True

    def end(_now: Now) -> None:
        seen.load = load[0].stop()
        first = one.pods[0]["metadata"]["name"]
        site.kubectl("delete", "pod", first, "--grace-period=0", "--force", "--wait=false")

    acts = (
        faults.rolled_out(PAIR, lambda _now: load.append(one.load())),
        faults.rolled_out(PAIR, evict),
        update,
        faults.rolled_out(PAIR, end),
        faults.replicas(PAIR, "1/2", lambda: None),
    )
    return Story(PAIR, lambda _now: served(PAIR, MODEL, replicas=2), acts, serves=True)


def all_of(faults: Faults) -> tuple[Story, ...]:
    """The longest first."""
    return tuple(make(faults) for make in (pair, hung, unfit, kept, lost))
