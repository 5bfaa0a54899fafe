"""Runs inside an environment: prints its words, its input and what an earlier run of it has left; then leaves that."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

FILE, VARIABLE = Path("/tmp/left"), "LEFT"

print(
    json.dumps(
        {
            "words": sys.argv[1:],
            "input": sys.stdin.read(),
            "imported": "swift.pipelines" in sys.modules,
            "left": [FILE.exists(), VARIABLE in os.environ, hasattr(json, VARIABLE)],
            "writable": os.access(FILE.parent, os.W_OK),
        }
    )
)
FILE.touch()
os.environ[VARIABLE] = "yes"
setattr(json, VARIABLE, True)
if "fail" in sys.argv:
    sys.exit("as told")
