"""A new revision takes over pod by pod, and one that fails leaves what serves alone."""

from __future__ import annotations

import pytest

from swiftop.errors import Transient
from tests.engine.fakecluster import Fault
from tests.engine.served import Object, Served, serving


async def test_an_edit_rolls_out_pod_by_pod(harness: Served) -> None:
    await serving(harness, replicas=2)
    old = harness.status["serving"]["revision"]
    await harness.edit(system="Be brief.")
    harness.replicas.act()
    harness.replicas.run()
    await harness.settle()
    assert harness.told("Ready") == ("True", "Answering", "2 of 2 replicas answer")
    assert harness.told("Reconciling")[0] == "True"
    assert harness.status["serving"]["revision"] == old
    await harness.start()
    assert harness.status["serving"]["revision"] != old
    assert len(harness.replicas.pods) == 2
    assert harness.told("Reconciling")[0] == "False"


@pytest.mark.parametrize("spec", [{"system": "Be brief."}, {"replicas": 2}])
async def test_an_edit_is_not_said_to_be_rolled_out_before_it_is(harness: Served, spec: Object) -> None:
    await serving(harness)
    harness.replicas.count(
        conditions=[{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    )
    harness.cluster.put({**harness.run, "spec": {**harness.run["spec"], **spec}})
    await harness.look()  # the Deployment is changed, and its controller has not seen it
    assert harness.status["observedGeneration"] == harness.run["metadata"]["generation"] == 2
    assert harness.told("Progressing")[:2] == ("True", "RollingOut")
    assert [harness.told(type_)[0] for type_ in ("Ready", "Reconciling", "Stalled")] == ["True", "True", "False"]


@pytest.mark.parametrize("spec", [{"system": "Be brief."}, {"replicas": 2}])
async def test_nor_while_the_api_server_does_not_take_it(harness: Served, spec: Object) -> None:
    await serving(harness)
    harness.cluster.put({**harness.run, "spec": {**harness.run["spec"], **spec}})
    harness.cluster.fault = lambda verb, _kind: Fault(Transient("500")) if verb == "apply" else None
    with pytest.raises(Transient):
        await harness.look()
    assert harness.status["observedGeneration"] == 2
    assert harness.told("Progressing")[:2] == ("True", "RollingOut")
    assert [harness.told(type_)[0] for type_ in ("Ready", "Reconciling", "Stalled")] == ["True", "True", "False"]
    harness.cluster.fault = lambda _verb, _kind: None
    await harness.settle()
    await harness.start()
    assert harness.told("Progressing")[:2] == ("True", "RolledOut")


async def test_a_new_revision_that_fails_leaves_the_old_one_serving(harness: Served) -> None:
    await serving(harness)
    old = harness.replicas.pods[0]["metadata"]["name"]
    await harness.edit(dtype="float16")
    harness.replicas.act()
    harness.replicas.run()
    new = [pod for pod in harness.replicas.pods if pod["metadata"]["name"] != old]
    harness.replicas.die(restarts=4, exit_code=137, reason="OOMKilled", pods=new)
    await harness.settle()
    assert harness.told("Ready")[:2] == ("True", "Answering")
    status, reason, message = harness.told("Progressing")
    assert (status, reason) == ("False", "HostOutOfMemory")
    assert "(restarted 4 times)" in message
    assert message.endswith("it holds the libraries, and without GPUs the weights in dtype.")
    assert harness.told("Stalled")[:2] == ("True", "HostOutOfMemory")
    assert harness.cluster.posted[-1][:2] == ("Warning", "HostOutOfMemory")  # though it is as Ready as before
    await harness.edit(dtype="bfloat16")
    await harness.start()
    assert harness.told("Progressing")[:2] == ("True", "RolledOut")
    assert harness.told("Stalled")[0] == "False"


async def test_an_edit_that_cannot_be_made_leaves_what_serves(harness: Served) -> None:
    await serving(harness)
    await harness.edit(engineArgs=[{"name": "no_such_flag", "value": "1"}])
    assert harness.told("Ready")[0] == "True"
    assert harness.told("Validated")[:2] == ("False", "UnknownFlag")
    assert harness.told("Progressing")[:2] == ("False", "UnknownFlag")
    await harness.edit(model={"exportRef": {"name": "merged"}}, engineArgs=[])
    assert harness.told("ModelReady")[:2] == ("False", "SourceMissing")
    assert harness.told("Ready")[0] == "True"
    await harness.edit(replicas="many")
    assert harness.told("Ready")[0] == "True"
    assert harness.told("Stalled")[:2] == ("True", "InvalidSpec")


async def test_none_is_asked_for(harness: Served) -> None:
    await serving(harness)
    await harness.edit(replicas=0)
    harness.replicas.act()
    await harness.settle()
    assert harness.told("Ready")[:2] == ("False", "ScaledToZero")
    assert harness.told("Progressing")[:2] == ("True", "RolledOut")
