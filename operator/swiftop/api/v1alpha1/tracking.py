"""Where metrics are shown: SwanLab and TensorBoard."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from swiftop.api.fields import Owns
from swiftop.api.v1alpha1.base import Model
from swiftop.api.v1alpha1.scalars import Word

# Its key is no member of credentials: nothing here speaks to that tracker but ms-swift.
_WANDB = (
    "add {name: report_to, value: wandb} to spec.extraArgs, and WANDB_API_KEY by valueFrom.secretKeyRef in "
    "runtime.podPatch: {spec: {containers: [{name: swift, env: [...]}]}}"
)


class SwanLab(Model):
    """Where SwanLab shows this run. The key comes from credentials."""

    WORD: ClassVar = "project"
    INSTEAD: ClassVar = dict.fromkeys(
        ("apiKey", "api_key", "token", "key"), "put it into the Secret that spec.credentials names, as SWANLAB_API_KEY"
    )

    project: Annotated[Word, Owns("swanlab_project")] = Field(
        description="Project on SwanLab; made when it does not exist."
    )
    experiment_name: Annotated[Word | None, Owns("swanlab_exp_name")] = Field(
        default=None, description="Name of the experiment. Absent: the run's name."
    )
    workspace: Annotated[Word | None, Owns("swanlab_workspace")] = Field(
        default=None, description="Workspace (user or organization) of the project. Absent: the one of the key."
    )
    mode: Annotated[Literal["cloud", "local"], Owns("swanlab_mode")] = Field(
        default="cloud",
        description="cloud: send to the SwanLab server (needs SWANLAB_API_KEY). local: write files to the output only.",
    )
    host: Annotated[str, Field(max_length=256, pattern=r"^https?://[^\s/]+(/[^\s]*)?$")] | None = Field(
        default=None,
        description="URL of a self-hosted SwanLab, for example http://swanlab.tools:8000. Absent: swanlab.cn.",
    )
    tags: tuple[Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^,]+$")], ...] = Field(
        default=(), max_length=16, description="Tags of the experiment."
    )
    group: Word | None = Field(default=None, description="Group of the experiment within its project.")


class Tracking(Model):
    """Where metrics are shown besides the status of the run."""

    INSTEAD: ClassVar = {"wandb": _WANDB}

    swanlab: SwanLab | None = Field(default=None, description="Show this run on SwanLab.")
    tensorboard: bool = Field(default=False, description="true: write TensorBoard files beside the checkpoints.")
