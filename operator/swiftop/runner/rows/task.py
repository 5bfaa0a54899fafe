"""The check as a process of its own: PID 1 has to hear signals meanwhile, and a tokenizer is a library of the image.

Request: ``path``, ``format``, ``columns``, ``maxBadRows``, and ``tokenizer``, ``tokenizerHub`` and ``maxLength`` when
tokens are counted. Result: `check.Result.to_json`, with ``problem`` (empty when the file is good enough) and ``empty``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from .. import causes
from ..task import Progress, Refused, main
from .check import Counts, CountTokens, Options, check
from .reading import Unreadable


def work(request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Check the file that the request names."""
    path = Path(str(request["path"]))
    options = Options(
        format=str(request.get("format") or "Auto"),
        columns=request.get("columns") or {},
        count_tokens=_tokenizer(request),
        max_length=request.get("maxLength"),
    )

    def told(counts: Counts, done: int, total: int) -> None:
        progress({"rows": counts.to_json(), "bytesDone": done, "bytesTotal": total})

    try:
        result = check(path, options, progress=told)
    except Unreadable as error:
        raise Refused(causes.DATA_INVALID, f"{path.name}: {error}") from error
    except FileNotFoundError as error:
        raise Refused(causes.DATASET_NOT_FOUND, f"the source has no file {path.name}") from error
    except PermissionError as error:
        raise Refused(causes.DATASET_NOT_FOUND, f"the pod's user may not read {path.name}") from error
    problem = result.problem(int(request.get("maxBadRows") or 0))
    return {**result.to_json(), "problem": problem and f"{path.name}: {problem}", "empty": not result.rows.total}


def _tokenizer(request: Mapping[str, Any]) -> Optional[CountTokens]:
    model = request.get("tokenizer")
    if not model:
        return None
    from .tokens import counter  # noqa: PLC0415 - heavy

    return counter(str(model), hub=str(request.get("tokenizerHub") or "modelscope"))


if __name__ == "__main__":
    raise SystemExit(main(work))
