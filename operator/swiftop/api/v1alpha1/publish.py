"""Repositories of the hubs that something is published to."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from swiftop.api.v1alpha1.base import Model, Reported
from swiftop.api.v1alpha1.hub import Hub, Revision
from swiftop.api.v1alpha1.refs import SecretKey
from swiftop.api.v1alpha1.rules import Rule, matching

Repository = Annotated[
    str,
    Field(min_length=3, max_length=200),
    matching(
        r"^[A-Za-z0-9_][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*$",
        "must be owner/name, as in me/qwen2-5-7b-chat",
    ),
]


class PushTarget(Model):
    """One repository that is published to."""

    WORD: ClassVar = "repo"
    RULES: ClassVar = (
        Rule(
            cel="self.hub != 'huggingface' || !has(self.visibility) || self.visibility != 'internal'",
            message="Hugging Face knows private and public only",
            holds=lambda target: target.hub != "huggingface" or target.visibility != "internal",
            field="visibility",
        ),
    )

    hub: Hub = Field(description="modelscope or huggingface.")
    repo: Repository = Field(description="Repository, as owner/name. Created when it does not exist.")
    visibility: Literal["private", "internal", "public"] = Field(
        default="private", description="Who may read it. An existing repository that is more public is refused."
    )
    revision: Revision | None = Field(
        default=None,
        description="Branch on Hugging Face; on ModelScope, where only master takes commits, a tag that is made "
        "afterwards. Absent: the main branch.",
    )
    commit_message: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        default=None, description="Message of the commit. Absent: what was published by which object."
    )
    token_secret: SecretKey | None = Field(
        default=None,
        description="Secret key with the token of the hub. Absent: that of spec.credentials, which has to be there.",
    )
    overwrite: bool = Field(
        default=False, description="true: write to a repository that exists and was not made by this object."
    )


class TargetStatus(Reported):
    """What was published."""

    hub: str = Field(default="", description="modelscope or huggingface.")
    repo: str = Field(default="", description="Repository, as owner/name.")
    revision: str | None = Field(default=None, description="Branch or tag.")
    visibility: str | None = Field(default=None, description="Who may read it.")
    commit: str | None = Field(default=None, description="Id of the commit that has the files.")
    url: str | None = Field(default=None, description="Its page.")
    files: int | None = Field(default=None, description="Files that were compared with the hub's own listing.")
    bytes: int | None = Field(default=None, description="Size of these files.")
    files_by_size: int | None = Field(
        default=None, description="Those of them that were compared by size alone: the hub tells no digest of them."
    )
