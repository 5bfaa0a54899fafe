"""What reaches beyond the pod: SwanLab, the model hub with its cache, and tokens that must show up nowhere.

One run does it all: it waits for its Secret, takes model and dataset by id, reports to SwanLab, prints its own
environment, and is followed by a second one on the same cache.
"""

from __future__ import annotations

import pytest

from tests.e2e import objects
from tests.e2e.objects import on_claim, sftrun, training
from tests.e2e.scan import findings
from tests.e2e.site import (
    CREDENTIALS,
    HUB_DATASET,
    HUB_MODEL,
    MODELSCOPE_HOST,
    MODELSCOPE_TOKEN,
    SWANLAB_HOST,
    SWANLAB_KEY,
    Site,
    condition,
)
from tests.e2e.support import Object

TOKENS = (SWANLAB_KEY, MODELSCOPE_TOKEN)
SHOW_ENVIRONMENT = "import os\nprint('environment:', dict(os.environ), flush=True)\n"


def by_id(name: str) -> Object:
    """Run with model and dataset by id, a cache claim, SwanLab, and a plugin that prints the environment."""
    return sftrun(
        name,
        model={"id": HUB_MODEL},
        datasets=[{"id": HUB_DATASET}],
        training=training(2, loadFromCacheFile=True),
        output=on_claim("by-id", objects.RUNS),
        cache={"persistentVolumeClaim": {"claimName": objects.CACHE}},
        tracking={"swanlab": {"project": "e2e", "workspace": "alice", "host": SWANLAB_HOST, "tags": ["tiny"]}},
        credentials={"modelscopeApiToken": {"name": CREDENTIALS, "key": "MODELSCOPE_API_TOKEN"}},
        files=[{"configMap": {"name": "plugin", "key": "show.py"}}],
        extraArgs=[{"name": "external_plugins", "values": ["/swiftop/files/show.py"]}],
        runtime={"env": [{"name": "MODELSCOPE_ENDPOINT", "value": MODELSCOPE_HOST}]},
    )


@pytest.fixture(scope="module")
def first(site: Site) -> Object:
    """The first run: told to wait for its Secret, healed by it, succeeded."""
    site.kubectl.apply(objects.config_map("plugin", {"show.py": SHOW_ENVIRONMENT}), by_id("by-id-one"))
    told = site.with_reason("by-id-one", "SecretMissing")
    assert CREDENTIALS in told["message"]
    site.kubectl.apply(objects.secret(CREDENTIALS, {"MODELSCOPE_API_TOKEN": MODELSCOPE_TOKEN}))
    told = site.with_reason("by-id-one", "SecretKeyMissing", seconds=150)
    assert "SWANLAB_API_KEY" in told["message"]
    keys = {"MODELSCOPE_API_TOKEN": MODELSCOPE_TOKEN, "SWANLAB_API_KEY": SWANLAB_KEY}
    site.kubectl.apply(objects.secret(CREDENTIALS, keys))
    return site.succeeded("by-id-one")


@pytest.mark.cluster
def test_a_second_run_downloads_and_tokenizes_nothing(first: Object, site: Site) -> None:
    """The cache claim holds model, dataset and the tokenized rows of the first run."""
    before = site.recorded("modelscope", "_counts")
    assert before["downloads"][f"models/{HUB_MODEL}/model.safetensors"] == 1
    assert before["downloads"][f"datasets/{HUB_DATASET}/sharegpt.jsonl"] == 1
    site.kubectl.apply(by_id("by-id-two"))
    site.succeeded("by-id-two")
    assert site.recorded("modelscope", "_counts") == before
    log = site.kubectl.text("logs", "-l", "swiftop.dev/name=by-id-two", "--tail=-1")
    assert "environment:" in log
    assert "Map (num_proc" not in log


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
    """Objects, logs, metrics and every file on the volumes; the run printed its environment, so it did try to leak."""
    assert "environment:" in site.kubectl.text("logs", "-l", "swiftop.dev/name=by-id-one", "--tail=-1")
    assert condition(first, "Succeeded")["status"] == "True"
    assert findings(site, TOKENS) == []


@pytest.mark.cluster
def test_the_scanner_finds_planted_copies(first: Object, site: Site) -> None:
    """A scanner that finds nothing proves nothing until it has found something."""
    site.shell("cat > /runs/planted.json", stdin=MODELSCOPE_TOKEN.encode())
    chatter = objects.pod("planted", image=site.trainer, command=["python", "-c", "print(open('/p/a').read())"])
    chatter["spec"]["restartPolicy"] = "Never"
    chatter["spec"]["volumes"].append({"name": "p", "configMap": {"name": "planted"}})
    chatter["spec"]["containers"][0]["volumeMounts"].append({"name": "p", "mountPath": "/p"})
    site.kubectl.apply(objects.config_map("planted", {"a": SWANLAB_KEY}), chatter)
    site.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/planted", "--timeout=60s")
    found = findings(site, TOKENS)
    site.shell("rm /runs/planted.json")
    site.kubectl.delete("pod", "planted")
    site.kubectl.delete("configmap", "planted")
    assert "configmaps e2e/planted" in found
    assert "log of e2e/planted" in found
    assert "file /runs/planted.json" in found
