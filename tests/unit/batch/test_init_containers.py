"""What a failed init container means for the run whose main container it kept from starting."""

from __future__ import annotations

from swiftop.batch.ending import After, after
from swiftop.observe.ending import pod_cause
from swiftop.observe.pods import pod_facts


def test_a_failed_init_container_is_the_cause_of_the_end() -> None:
    state = {"terminated": {"exitCode": 3, "reason": "Error", "message": "no route to the bucket"}}
    status = {
        "phase": "Failed",
        "initContainerStatuses": [{"name": "download", "ready": False, "state": state}],
        "containerStatuses": [{"name": "swift", "state": {"waiting": {"reason": "PodInitializing"}}}],
    }
    pod = {"metadata": {"name": "p", "uid": "u"}, "spec": {}, "status": status}
    cause = pod_cause(pod_facts(pod, members=()))
    assert cause is not None
    assert (cause.reason, after(cause)) == ("InitContainerFailed", After.END)
    assert cause.message == "init container download failed with exit code 3: no route to the bucket"
    assert cause.suggestion == "look at its log: kubectl logs p -c download"
