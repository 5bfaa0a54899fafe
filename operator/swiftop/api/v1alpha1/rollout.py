"""What has to be done before the pods of what serves are changed, and how they are."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from swiftop.api.v1alpha1.base import Model
from swiftop.api.v1alpha1.rules import Rule, matching
from swiftop.api.v1alpha1.scalars import PositiveNumber
from swiftop.api.v1alpha1.workload import Output, Resources

# ms-swift splits name=path at each '='; what clients write into "model".
ServedName = Annotated[
    str,
    Field(min_length=1, max_length=96),
    matching(r"^[A-Za-z0-9][A-Za-z0-9._/:-]*$", "write letters, digits and . _ / : -, as in mh-sft-7b"),
]


class Merge(Model):
    """How the adapter of a run is merged into its model before it is served."""

    RULES: ClassVar = (
        Rule(
            cel="!has(self.output) || !has(self.output.ephemeral) || !self.output.ephemeral",
            message="the merged model would be lost with the pod that makes it: name a claim or a volume",
            holds=lambda merge: merge.output is None or not merge.output.ephemeral,
            field="output",
        ),
    )

    output: Output | None = Field(
        default=None,
        description="Where the merged model goes. Absent: beside the checkpoint, on the volume of its run. Pods on "
        "several nodes need one that all of them can mount.",
    )
    resources: Resources | None = Field(
        default=None, description="What the pod that merges gets. Absent: no GPU, and memory by the size of the model."
    )


class GatePrompt(Model):
    """A question, and a text that has to stand in its answer."""

    name: ServedName | None = Field(
        default=None, description="Served name that is asked: an adapter's. Absent: the model itself."
    )
    prompt: str = Field(min_length=1, max_length=4096, description="What is asked, as the only turn of a user.")
    contains: str = Field(
        min_length=1, max_length=1024, description="What has to stand in the answer, letter for letter."
    )
    max_tokens: int = Field(
        default=256, ge=1, le=8192, description="Most tokens of the answer, the thoughts of a reasoning model included."
    )


class Gate(Model):
    """What a new revision has to pass before it takes over."""

    RULES: ClassVar = (
        Rule(
            cel="has(self.prompts) && size(self.prompts) > 0 || has(self.maxEvalLoss)",
            message="a gate needs prompts or maxEvalLoss",
            holds=lambda gate: bool(gate.prompts) or gate.max_eval_loss is not None,
        ),
    )

    prompts: tuple[GatePrompt, ...] = Field(
        default=(),
        max_length=16,
        description="What each new pod is asked, without sampling, before it is ready. One wrong answer, or none "
        "within timeouts.answerSeconds, and the revision is taken back: what served before goes on. A change of the "
        "prompts is a new revision.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    max_eval_loss: PositiveNumber | None = Field(
        default=None,
        description="Highest loss of the last evaluation of a checkpoint that sftRunRef or exportRef stands for, for "
        'example "1.25". A newer result above it, or without an evaluation, is not rolled out.',
    )


class Rollout(Model):
    """How a change of the sources reaches the pods."""

    follow: bool = Field(
        default=True,
        description="A newer result of what exportRef and sftRunRef name, as of an export that was made again, is "
        "rolled out by itself. false: what was resolved first stays until the reference in the spec is changed.",
    )
    gate: Gate | None = Field(default=None, description="What a new revision has to pass before it takes over.")
