"""How publishing ends when it fails. ``runner/causes.py`` has these among its own."""

from __future__ import annotations

from ..ends import EXIT_ARTIFACT, EXIT_NETWORK, EXIT_USER, EndClass

HUB_FORBIDDEN = EndClass(
    "HubForbidden",
    EXIT_USER,
    "Use a token with write permission, and a repo below a user or an organization that the token may write to.",
)
HUB_REFUSED = EndClass(
    "HubRefused",
    EXIT_USER,
    "The hub does not accept the request, and its answer is in the message: check repo and visibility, the account's "
    "quota, and the size of the files (a shard of at most 5 GB).",
)
REPOSITORY_EXISTS = EndClass(
    "RepositoryExists",
    EXIT_USER,
    "The repository holds files that this object did not publish: choose another repo, or set overwrite: true to "
    "publish into it.",
)
REPOSITORY_VISIBLE = EndClass(
    "RepositoryVisible",
    EXIT_USER,
    "The repository exists, and more people can see it than visibility allows: change it on its page on the hub, "
    "choose another repo, or set visibility to what it is.",
)
REVISION_EXISTS = EndClass(
    "RevisionExists",
    EXIT_USER,
    "The repository has a tag of that name with other files, and a tag does not move: choose another revision, or "
    "delete the tag on the repository's page.",
)
NOTHING_TO_PUBLISH = EndClass(
    "NothingToPublish",
    EXIT_USER,
    "Check the path: there has to be a file to publish, and no symbolic link may lead out of the folder.",
)
CONTENT_CHANGED = EndClass(
    "ContentChanged",
    EXIT_ARTIFACT,
    "Something writes to the volume between the check and the upload: let nothing do so, and apply it again with a new "
    "name.",
)
PUSH_CONFLICT = EndClass(
    "PushConflict",
    EXIT_NETWORK,
    "Something else changed the repository at the same time: let one object at a time publish into it.",
    transient=True,
)
PUSH_INCOMPLETE = EndClass(
    "PushIncomplete",
    EXIT_NETWORK,
    "The hub lists other files than were published: look at the repository's page and the hub's status page, then "
    "apply it again.",
    transient=True,
)

FAILURES = (
    HUB_FORBIDDEN,
    HUB_REFUSED,
    REPOSITORY_EXISTS,
    REPOSITORY_VISIBLE,
    REVISION_EXISTS,
    NOTHING_TO_PUBLISH,
    CONTENT_CHANGED,
    PUSH_CONFLICT,
    PUSH_INCOMPLETE,
)
