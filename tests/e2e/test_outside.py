"""What reaches beyond the pod: SwanLab, the model hub with its cache, and tokens that must show up nowhere.

One run does it all: it waits for its Secret, takes model and dataset by id, reports to SwanLab, prints its own
environment, and is followed by a second one on the same cache.
"""

from __future__ import annotations

import base64

import pytest

from tests.e2e import objects
from tests.e2e.objects import on_claim, sftrun, training
from tests.e2e.scan import encoded, findings
from tests.e2e.site import (
    CREDENTIALS,
    HUB_DATASET,
    HUB_MODEL,
    MODELSCOPE_HOST,
    MODELSCOPE_TOKEN,
    NAMESPACE,
    SWANLAB_HOST,
    SWANLAB_KEY,
    Site,
    condition,
)
from tests.e2e.support import Object

OTHER_TOKEN = "canary-other-90c2f7d41e5b4a83"  # known to swiftop by a pod patch alone
TOKENS = (SWANLAB_KEY, MODELSCOPE_TOKEN, OTHER_TOKEN)
VARIABLES = ("SWANLAB_API_KEY", "MODELSCOPE_API_TOKEN", "OTHER")
SHOW_ENVIRONMENT = "import os\nprint('environment:', dict(os.environ), flush=True)\n"
# As a library that quotes what it was given, in the exception that ends the run.
LEAK = f"{SHOW_ENVIRONMENT}raise RuntimeError('refused: ' + ' and '.join(os.environ[name] for name in {VARIABLES}))\n"


def by_id(name: str, **swanlab: str) -> Object:
    """Run with model and dataset by id, a cache claim, SwanLab, and a plugin that prints the environment."""
    return sftrun(
        name,
        model={"id": HUB_MODEL},
        datasets=[{"id": HUB_DATASET}],
        training=training(2),
        output=on_claim("by-id", objects.RUNS),
        cache={"persistentVolumeClaim": {"claimName": objects.CACHE}},
        tracking={"swanlab": {"project": "e2e", "host": SWANLAB_HOST, "tags": ["tiny"], **swanlab}},
        credentials={"modelscopeApiToken": {"name": CREDENTIALS, "key": "MODELSCOPE_API_TOKEN"}},
        files=[{"configMap": {"name": "plugin", "key": "show.py"}}],
        extraArgs=[{"name": "external_plugins", "values": ["/swiftop/files/show.py"]}],
        runtime={"env": [{"name": "MODELSCOPE_ENDPOINT", "value": MODELSCOPE_HOST}]},
    )


def leaking() -> Object:
    """Run that prints its environment and then ends with an exception that quotes its tokens."""
    reference = {"secretKeyRef": {"name": CREDENTIALS, "key": "OTHER_TOKEN"}}
    patch = {"spec": {"containers": [{"name": "swift", "env": [{"name": "OTHER", "valueFrom": reference}]}]}}
    run = by_id("leaking")
    run["spec"]["extraArgs"] = [{"name": "external_plugins", "values": ["/swiftop/files/leak.py"]}]
    run["spec"]["files"] = [{"configMap": {"name": "plugin", "key": "leak.py"}}]
    run["spec"]["runtime"]["podPatch"] = patch
    return run


@pytest.fixture(scope="module")
def first(site: Site) -> Object:
    """The first run: told to wait for its Secret, healed by it, succeeded."""
    plugins = objects.config_map("plugin", {"show.py": SHOW_ENVIRONMENT, "leak.py": LEAK})
    site.kubectl.apply(plugins, by_id("by-id-one", workspace="alice"))
    told = site.with_reason("by-id-one", "SecretMissing")
    assert CREDENTIALS in told["message"]
    site.kubectl.apply(objects.secret(CREDENTIALS, {"MODELSCOPE_API_TOKEN": MODELSCOPE_TOKEN}))
    told = site.with_reason("by-id-one", "SecretKeyMissing", seconds=150)
    assert "SWANLAB_API_KEY" in told["message"]
    keys = {"MODELSCOPE_API_TOKEN": MODELSCOPE_TOKEN, "SWANLAB_API_KEY": SWANLAB_KEY, "OTHER_TOKEN": OTHER_TOKEN}
    site.kubectl.apply(objects.secret(CREDENTIALS, keys), leaking())
    return site.succeeded("by-id-one")


@pytest.mark.cluster
def test_a_second_run_downloads_and_tokenizes_nothing(first: Object, site: Site) -> None:
    """The cache claim holds model, dataset and the tokenized rows of the first run."""
    before = site.recorded("modelscope", "_counts")
    assert before["downloads"][f"models/{HUB_MODEL}/model.safetensors"] == 1
    assert before["downloads"][f"datasets/{HUB_DATASET}/sharegpt.jsonl"] == 1
    site.kubectl.apply(by_id("by-id-two"))
    second = site.succeeded("by-id-two")
    # Its spec names no workspace: whose key it is, the server has told.
    assert second["status"]["tracking"]["url"].startswith(f"{SWANLAB_HOST}/@alice/e2e/runs/")
    assert site.recorded("modelscope", "_counts") == before
    log = {n: site.kubectl.text("logs", "-l", f"swiftop.dev/name=by-id-{n}", "--tail=-1") for n in ("one", "two")}
    assert "environment:" in log["two"]
    assert {n: "Map (num_proc" in text for n, text in log.items()} == {"one": True, "two": False}


@pytest.mark.cluster
def test_metrics_arrive_at_swanlab_under_the_id_in_the_status(first: Object, site: Site) -> None:
    """The link in the status is where SwanLab shows the run."""
    url = first["status"]["tracking"]["url"]
    run_id = url.rpartition("/")[2]
    assert url == f"{SWANLAB_HOST}/@alice/e2e/runs/{run_id}"
    record = [entry for entry in site.recorded("swanlab") if entry.get("run") == run_id]
    begun = next(entry for entry in record if "experiment" in entry)
    assert (begun["experiment"], begun["project"], begun["labels"]) == ("by-id-one", "e2e", [{"name": "tiny"}])
    assert "train/loss" in str([entry["values"] for entry in record if entry.get("metrics") == "scalar"])
    assert [entry["state"] for entry in record if "state" in entry] == ["FINISHED"]


@pytest.mark.cluster
def test_a_token_shows_up_nowhere_but_in_its_secret(first: Object, site: Site) -> None:
    """Objects, logs, metrics and every file on the volumes; both runs printed their environment and one quoted it."""
    assert condition(first, "Succeeded")["status"] == "True"
    failure = site.ended("leaking")["status"]["failure"]
    assert "refused: *** and *** and ***" in failure["log"], failure
    said = site.pods("leaking")[0]["status"]["containerStatuses"][0]["state"]["terminated"]["message"]
    assert "refused: *** and *** and ***" in said
    for name in ("by-id-one", "leaking"):
        log = site.kubectl.text("logs", "-l", f"swiftop.dev/name={name}", "--tail=-1")
        shown = next(line for line in log.splitlines() if line.startswith("environment:"))
        assert "'SWANLAB_API_KEY': '***'" in shown
        assert "'MODELSCOPE_API_TOKEN': '***'" in shown
    assert "'OTHER': '***'" in shown
    assert findings(site, TOKENS) == []


@pytest.mark.cluster
def test_the_scanner_finds_planted_copies(first: Object, site: Site) -> None:
    """A scanner that finds nothing proves nothing until it has found something."""
    site.shell("cat > /runs/planted.json", stdin=MODELSCOPE_TOKEN.encode())
    site.shell("cat > /runs/planted.base64", stdin=base64.b64encode(f'{{"token": "{OTHER_TOKEN}"}}'.encode()))
    chatter = objects.pod("planted", image=site.trainer, command=["python", "-c", "print(open('/p/a').read())"])
    chatter["spec"]["restartPolicy"] = "Never"
    chatter["spec"]["volumes"].append({"name": "p", "configMap": {"name": "planted"}})
    chatter["spec"]["containers"][0]["volumeMounts"].append({"name": "p", "mountPath": "/p"})
    about = {"kind": "Pod", "namespace": NAMESPACE, "name": "planted"}
    event = {"metadata": {"name": "planted"}, "involvedObject": about, "message": f"the key {SWANLAB_KEY} is wrong"}
    site.kubectl.apply(
        objects.config_map("planted", {"a": SWANLAB_KEY}), chatter, {"apiVersion": "v1", "kind": "Event", **event}
    )
    site.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/planted", "--timeout=300s")
    found = findings(site, TOKENS)
    site.shell("rm /runs/planted.json /runs/planted.base64")
    for kind in ("pod", "configmap", "event"):
        site.kubectl.delete(kind, "planted")
    assert {
        "configmaps e2e/planted",
        "events e2e/planted",
        "log of e2e/planted",
        "file /runs/planted.json",
        "file /runs/planted.base64",
    } <= set(found)


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("after", ["", "x", "xy"])
@pytest.mark.parametrize("token", TOKENS)
def test_a_token_is_found_in_the_base64_of_any_text(before: str, token: str, after: str) -> None:
    """Wherever it stands in it, and nothing but the token."""
    text = base64.b64encode(f"{before}{token}{after}".encode()).decode()
    assert any(form in text for form in encoded(token))
    assert all(len(form) > len(token) for form in encoded(token))
