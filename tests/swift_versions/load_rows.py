"""Runs inside an environment with the real ms-swift: loads each dataset file of stdin as ms-swift does for a training.

Nothing of swiftop runs in here. Input: a JSON list of {"name": file name, "content": base64, "columns": {…}}.
Output, after a line `RESULTS`: a JSON list of lists of rows, each a list of [role, content], or of {"error": …}.
"""

from __future__ import annotations

import base64
import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any


def loaded(file: dict[str, Any]) -> Any:
    """Rows of one file, as the template gets them."""
    path = Path(tempfile.mkdtemp()) / file["name"]
    path.write_bytes(base64.b64decode(file["content"]))
    try:
        dataset, _ = importlib.import_module("swift.dataset").load_dataset(
            str(path), columns=file.get("columns"), load_from_cache_file=False
        )
        return [[[turn["role"], turn["content"]] for turn in row["messages"]] for row in dataset]
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300]}


def main() -> None:
    """Read, load, print."""
    results = [loaded(file) for file in json.load(sys.stdin)]
    print("RESULTS")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
