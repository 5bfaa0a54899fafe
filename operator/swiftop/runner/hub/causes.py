"""How reading from a hub and publishing to it end when they fail. ``runner/causes.py`` has these among its own."""

from __future__ import annotations

from ..ends import EXIT_ARTIFACT, EXIT_NETWORK, EXIT_USER, EndClass

MODEL_NOT_FOUND = EndClass(
    "ModelNotFound",
    EXIT_USER,
    "Check model.id and model.hub, or the claim and path; a local model directory whose type is not clear needs "
    "model.type.",
    (
        r"ValueError: path: '[^']+' not found",
        r"Please set --model",
        r"(NotExist|RepositoryNotFound|(?<!Local)EntryNotFound|DisabledRepo)Error",
        r"Multiple possible types found",
        r"Please explicitly pass the `?model_type",
        r"Unrecognized model in",
        r"(No such file or directory|Is a directory|Not a directory): '/models/(?![^'\n]{1,400}-of-\d)",
        r"Repo id must (be|use)|HFValidationError|InvalidParameter.{0,80}model_id",
        r"models?/.{0,200}(\u4e0d\u5b58\u5728|not exist|not found)|\u4e0d\u5b58\u5728\u7684\u6a21\u578b",
        r"is not a (local folder|valid model identifier)|not a valid (model )?(identifier|repo)",
        r"Can't load (the )?(configuration|config|tokenizer|model|feature extractor|image processor)",
        r"has no revision",
        r"RevisionNotFoundError",
        r"does not appear to have a file named (?!\S{1,200}-of-\d)",
        r"no file named (pytorch_model|model\.safetensors|config\.json)",
        r"HTTPError: .{0,40}\b4(00|04|10|22|51)\b",
        r"(config|tokenizer)\.json.{0,120}No such file",
    ),
)
HUB_AUTH_FAILED = EndClass(
    "HubAuthFailed",
    EXIT_NETWORK,
    "Put a valid MODELSCOPE_API_TOKEN or HF_TOKEN into the credentials Secret, and accept the model's licence on its "
    "page if it is gated.",
    (
        r"GatedRepoError",
        r"modelscope[\w.]*\.(Authentication|PermissionDenied)Error",
        r"NotLoginException",
        r"LocalTokenNotFoundError",
        r"HTTPError.{0,60}(401|403)",
        r"(?<!DisabledRepoError: )(401|403) Client Error",
        r"Invalid (user )?token|(Illegal|Invalid) header value",
        r"Please specify a token by",
        r"(?<!private or )gated (dataset|repo|model)",
        r"must be authenticated|ask for access|Access to .{0,80}is restricted",
        r"token .{0,40}(is|has) (invalid|expired)|Authentication token does not exist",
    ),
)
HUB_UNREACHABLE = EndClass(
    "HubUnreachable",
    EXIT_NETWORK,
    "The model hub does not answer: check DNS, proxy and NetworkPolicy, use a mirror (MODELSCOPE_ENDPOINT, HF_ENDPOINT "
    "in runtime.env), or take model and dataset from a claim.",
    (
        r"(Network|RequestTimeout)Error: \[E\d+\]",
        r"(httpx|httpcore|http|requests|urllib3|aiohttp)[\w.]*\.\w*"
        r"(Connect|Timeout|Proxy|SSL|Protocol|NewConnection|MaxRetry|NameResolution|ReadError|Chunked|Payload)\w*",
        r"LocalEntryNotFoundError",
        r"OfflineModeIsEnabled",
        r"Temporary failure in name resolution",
        r"Name or service not known",
        r"We couldn't connect to",
        r"(407|408|416|425|429|5\d\d) (Client|Server) Error",
        r"modelscope[\w.]*\.(Server|RateLimit)Error",
        r"Connection (failed|reset by peer|refused).{0,200}(modelscope|huggingface|hf\.co)",
        r"FileDownloadError|Consistency check failed: file should be of size",  # what was downloaded
        r"(Max retries exceeded|Connection aborted|Read timed out|Remote end closed|RemoteDisconnected|IncompleteRead)",
        r"socket\.gaierror|\bgaierror\b|getaddrinfo failed|Network is unreachable|No route to host",
        r"^(ConnectionError|ConnectionRefusedError|TimeoutError|URLError|urllib\.error\.\w+): ",
        r"\bETIMEDOUT\b|\bECONNREFUSED\b|Tunnel connection failed|ProxyError",
        r"Too Many Requests",
    ),
    transient=True,
)
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

PUBLISHING = (
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
