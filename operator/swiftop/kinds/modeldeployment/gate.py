"""Whether a newer result may take over, by what its source tells; what it answers is asked in the pods."""

from __future__ import annotations

from swiftop.api.v1alpha1.modeldeployment import ModelDeployment
from swiftop.errors import Problem
from swiftop.kinds.modeldeployment.source import Found
from swiftop.model.facts import Cause
from swiftop.reasons import Reason
from swiftop.runner.protocol import GatePrompt


def shut(deployment: ModelDeployment, now: Found, pinned: Found | None) -> Cause | None:
    """Why a result is not let through; None for one that is, or that serves already."""
    gate = deployment.spec.rollout.gate
    if gate is None or gate.max_eval_loss is None or (pinned is not None and pinned.identity == now.identity):
        return None
    what, loss = " ".join(now.ref.split("/")[:2]), now.eval_loss
    where = f"{now.claim_name}/{now.path}"
    if loss is None:
        text = f"{what}: nothing is known of an evaluation loss of {where}, and the gate has maxEvalLoss"
        return Cause(Reason.GATE_FAILED, text, "train with a validation, or remove rollout.gate.maxEvalLoss")
    if loss <= float(gate.max_eval_loss):
        return None
    text = f"{what}: the evaluation loss of {where} is {loss:.6g}, above {gate.max_eval_loss}"
    return Cause(Reason.GATE_FAILED, text, "train it better, or raise rollout.gate.maxEvalLoss")


def prompts(deployment: ModelDeployment) -> tuple[GatePrompt, ...]:
    """What each new pod is asked, by the name that is meant."""
    return tuple(
        GatePrompt(one.name or deployment.served_name, one.prompt, one.contains, one.max_tokens)
        for one in deployment.spec.gate_prompts
    )


def warnings(deployment: ModelDeployment) -> list[Problem]:
    """A question that says nothing of what is trained."""
    spec = deployment.spec
    fixed = spec.adapters and not (spec.model.sft_run_ref or spec.model.export_ref)
    return [
        Problem(
            f"spec.rollout.gate.prompts[{number}]",
            "it is asked of the model itself, which no training changes",
            "set name to the adapter that is meant",
        )
        for number, one in enumerate(spec.gate_prompts)
        if fixed and one.name in (None, deployment.served_name)
    ]
