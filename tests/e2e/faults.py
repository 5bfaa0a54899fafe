"""Stories of exports and uploads to which something happens. All are played at once, since most of them wait."""

from __future__ import annotations

from typing import Any

from tests.e2e import objects
from tests.e2e.objects import SPARE, on_claim, sftrun, training
from tests.e2e.probe import light
from tests.e2e.scene import LATE_SECRET, OUTPUT, RUN, SECRET, SMALL_VOLUME, TOKENS, Scene, reason, rows, when
from tests.e2e.site import HUB_TOKEN
from tests.e2e.stories import Story
from tests.e2e.support import Object

STEPS = 2
UPLOAD = {"modelscope": r"^PUT /_blob/modelscope", "huggingface": r"^PUT /_blob/huggingface"}
COMMIT = r"^POST .*/commit/"
BASE, ADAPTER, CHATS = "alice/Qwen2.5-0.5B-Instruct", "alice/adapter", "alice/chats"  # ms-swift knows models by name
WAITING = "waits-for-secret"  # an upload
KILLED, RESTARTED, FILLED, TAKEN = "alice/killed", "alice/restarted", "alice/filled", "alice/taken"
BAD, INTERRUPTED = "alice/bad", "alice/interrupted"
ROWS, BAD_ROWS = 55, 25
ENDS_WELL = "Succeeded"  # the condition


def push(hub: str, repository: str) -> list[Object]:
    """One target."""
    return [{"hub": hub, "repo": repository}]


def waiting(name: str) -> Object:
    """An export whose run does not exist."""
    return objects.modelexport(name, {"sftRunRef": {"name": "nobody"}})


def wanderer(scene: Scene) -> Story:
    """Its run is missing, comes, is deleted, fails, comes again, and is deleted with the pod that merges."""
    probe, kubectl = scene.probe("wanderer"), scene.site.kubectl

    def run_anew(**spec: Any) -> None:
        scene.site.remove(RUN)
        kubectl.apply(sftrun(RUN, **{"output": OUTPUT, "training": training(STEPS), **spec}))

    def lose_both() -> None:
        kubectl.delete("sftrun", RUN)
        scene.look_at_arguments()
        scene.delete_pod("wanderer")
        probe.release()

    never = {"gpus": 64, "cpu": SPARE}
    fails = {"cpu": "300m", "output": on_claim("locked", objects.RUNS)}
    return Story(
        "wanderer",
        scene.probed("wanderer", "hub", held=True, source={"sftRunRef": {"name": RUN}}, verify="Auto", dtype="float16"),
        (
            reason("wanderer", "SourceReady", "SourceMissing", lambda: run_anew(**never)),
            reason("wanderer", "SourceReady", "SourcePending", lambda: kubectl.delete("sftrun", RUN)),
            reason("wanderer", "SourceReady", "SourceDeleted", lambda: run_anew(**fails)),
            reason("wanderer", "SourceReady", "SourceUnusable", run_anew),
            when("wanderer", lose_both),
        ),
    )


def killed(scene: Scene) -> Story:
    """Its container is killed while it merges, its next pod is evicted in the middle of the upload."""
    probe, hub = scene.probe("killed"), scene.hubs["hub-killed"]
    hub.send_elsewhere()
    hub.hold(UPLOAD["huggingface"])

    def kill() -> None:
        scene.kill_container("killed")
        probe.release()

    def evict() -> None:
        scene.look_at_arguments()
        scene.evict_pod("killed")
        hub.release()

    make = scene.probed("killed", "hub-killed", held=True, push=push("huggingface", KILLED))
    return Story("killed", make, (when("killed", kill), when(hub.name, evict)), after=(RUN,))


def restarted(scene: Scene) -> Story:
    """The operator restarts while it merges, while it uploads and after the end; the answer to the commit is lost."""
    probe, hub = scene.probe("restarted"), scene.hubs["hub-restarted"]
    hub.send_elsewhere()
    hub.hold(UPLOAD["modelscope"], {"match": COMMIT, "drop_after": True})

    def forget() -> None:
        """The repository goes, the operator forgets all it knew, and the manifest is applied again."""
        scene.published = hub.repositories("modelscope")[RESTARTED]
        hub.tell("_delete", {"hub": "modelscope", "kind": "model", "id": RESTARTED})
        scene.restart_operator()
        scene.apply_again("modelexport", "restarted")

    make = scene.probed("restarted", "hub-restarted", held=True, push=push("modelscope", RESTARTED))
    acts = (
        when("restarted", lambda: scene.restart_operator(probe.release)),
        when(hub.name, lambda: scene.restart_operator(hub.release)),
        reason("restarted", ENDS_WELL, "Completed", forget),
    )
    return Story("restarted", make, acts, after=(RUN,))


def filled(scene: Scene) -> Story:
    """Its volume is full once it merges; when there is room again it is deleted and applied again."""
    hub = scene.hubs["hub-filled"]
    hub.hold(r"^GET /api/whoami")

    def fill() -> None:
        scene.volume.fill(leave_kib=128)
        hub.release()

    def apply_again() -> None:
        scene.left = scene.volume.shell("find . -path './filled-*' -type f").split()
        scene.volume.make_room()
        scene.apply_again("modelexport", "filled", anew=True)

    make = scene.plain("filled", "hub-filled", output=on_claim("", SMALL_VOLUME), push=push("huggingface", FILLED))
    return Story(
        "filled", make, (when(hub.name, fill), reason("filled", ENDS_WELL, "DiskFull", apply_again)), after=(RUN,)
    )


def taken(scene: Scene) -> Story:
    """Somebody else has the name at the hub."""
    hub = scene.hubs["hub-killed"]
    hub.tell("_seed", {"hub": "huggingface", "kind": "model", "id": TAKEN, "files": {"config.json": "{}"}})
    return Story("taken", scene.probed("taken", "hub-killed", push=push("huggingface", TAKEN)), after=(RUN,))


def published(scene: Scene) -> tuple[Story, ...]:
    """What is published is trained on and exported by its id: model, dataset and adapter in private repositories."""
    secret, model = {"secretName": SECRET}, {"id": BASE, "hub": "huggingface"}
    token = {"hfToken": {"name": SECRET, "key": "HF_TOKEN"}}
    env = scene.hubs["hub"].env()

    def late(key: str) -> Object:
        return {"hfToken": {"name": LATE_SECRET, "key": key}}

    base = scene.plain("base", "hub", source=on_claim(objects.MODEL), push=push("huggingface", BASE))
    keyless = scene.plain(
        "keyless",
        "hub",
        merge=False,
        push=push("huggingface", ADAPTER),
        credentials=late("EXPORT"),
    )
    chats = scene.uploaded(
        WAITING,
        "hub",
        on_claim("datasets/sharegpt.jsonl"),
        destination={"hub": "huggingface", "repo": CHATS},
        credentials=late("HF_TOKEN"),
    )
    run = sftrun(
        "by-hub",
        model=model,
        datasets=[{"id": CHATS, "hub": "huggingface"}],
        training=training(STEPS),
        output=OUTPUT,
        credentials=token,
        runtime=light(env),
    )
    source = {**model, "adapters": [{"id": ADAPTER}]}
    with_secret = (
        reason(WAITING, ENDS_WELL, "SecretMissing", lambda: scene.secret(LATE_SECRET, OTHER="x")),
        reason(WAITING, ENDS_WELL, "SecretKeyMissing", lambda: scene.secret(LATE_SECRET, **TOKENS)),
    )
    with_key = reason(
        "keyless", ENDS_WELL, "SecretKeyMissing", lambda: scene.secret(LATE_SECRET, **TOKENS, EXPORT=HUB_TOKEN)
    )
    by_id = scene.plain("by-id", "hub", source=source, credentials={**secret, **token}, verify="Auto")
    return (
        Story("base", base),
        Story(WAITING, chats, with_secret),
        Story("keyless", keyless, (with_key,), after=(RUN,)),
        Story("by-hub", lambda _now: run, after=("base", WAITING)),
        Story("by-id", by_id, after=("base", "keyless")),
    )


def uploads(scene: Scene) -> tuple[Story, ...]:
    """A file with bad rows, refused and tolerated, and an upload whose pod is deleted in the middle."""
    hub = scene.hubs["hub-upload"]
    hub.hold(UPLOAD["modelscope"])
    scene.site.kubectl.apply(objects.config_map("faults-rows", {"rows.jsonl": rows(ROWS - BAD_ROWS, BAD_ROWS)}))
    mixed = {"configMap": {"name": "faults-rows", "key": "rows.jsonl"}}

    def delete() -> None:
        scene.look_at_arguments()
        scene.delete_pod("interrupted")
        hub.release()

    def target(repository: str) -> Object:
        return {"hub": "modelscope", "repo": repository}

    bad = scene.uploaded("bad", "hub", mixed, destination=target(BAD))
    tolerated = scene.uploaded("tolerated", "hub", mixed, destination=target("alice/tolerated"), maxBadRows=BAD_ROWS)
    interrupted = scene.uploaded(
        "interrupted", "hub-upload", on_claim("datasets/sharegpt.jsonl"), destination=target(INTERRUPTED)
    )
    return (
        Story("bad", bad),
        Story("tolerated", tolerated),
        Story("interrupted", interrupted, (when(hub.name, delete),)),
    )


def all_of(scene: Scene) -> tuple[Story, ...]:
    """The longest first."""
    exports = (wanderer(scene), killed(scene), restarted(scene), filled(scene), taken(scene))
    return (*published(scene), *exports, *uploads(scene))
