"""How a training ends by its experiment tracker. ``runner/causes.py`` has these among its own."""

from __future__ import annotations

from .ends import EXIT_TRACKER, EndClass

_SAYS = r"^(swanlab|wandb)[\w.]*\.\w{1,40}(Error|Exception)\b.{0,300}"
_REFUSED = r"(\b4(0[0-79]|1\d|2[0-8]) [A-Z]|\[(Not|Bad|Conflict|Forbidden|Invalid|Unprocessable))"  # not 408 and 429

AUTH_FAILED = EndClass(
    "TrackerAuthFailed",
    EXIT_TRACKER,
    "Put a valid SWANLAB_API_KEY into the credentials Secret (see https://swanlab.cn/space/~/settings), and check "
    "tracking.swanlab.host for a server of your own; another tracker needs its own key (as WANDB_API_KEY).",
    (
        r"^swanlab\.[\w.]*AuthenticationError",
        r"(api.?key|API key) .{0,60}(not configured|is (invalid|required|incorrect)|invalid)",
        r"No API key configured|wandb login|wandb: ERROR .{0,60}api_key",
        r"Failed to initialize the SwanLab client|^swanlab[\w.]*\.KeyFileError",
        _SAYS + r"(\b40[13] [A-Z]|[^\w/](Unauthorized|Forbidden)\b|api key|permission denied|\u672a\u7ecf\u6388\u6743)",
        r"no TTY is available for interactive login",
    ),
)
UNREACHABLE = EndClass(
    "TrackerUnreachable",
    EXIT_TRACKER,
    "Check tracking.swanlab.host (of another tracker its variables in runtime.env), the namespace's NetworkPolicy and "
    "its proxy settings; or remove tracking.swanlab, or that tracker from report_to, and train without it.",
    (
        r"^swanlab[\w.]*\.\w{0,40}(Connection|Network|Timeout)\w*Error",
        rf"^swanlab[\w.]*\.\w{{0,40}}Api\w*Error(?!.{{0,300}}{_REFUSED})",
        r"^wandb[\w.]*\.CommError: .{0,120}(timed out|timeout|connect|network|\b5\d\d\b)",
    ),
    transient=True,
)
FAILED = EndClass(
    "TrackerFailed",
    EXIT_TRACKER,
    "The experiment tracker refuses to start: check tracking.swanlab (project, workspace, experimentName, tags, host), "
    "or remove it and train without.",
    (r"^swanlab[\w.]*\.\w{1,60}(Error|Exception)", r"^(wandb|mlflow|comet_ml|neptune|clearml|trackio)[\w.]*\.\w+"),
)
