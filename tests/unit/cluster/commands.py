"""Stand-ins for the commands that the cluster's code runs: shell scripts in front of the PATH."""

from pathlib import Path


def stand_in(directory: Path, name: str, script: str) -> Path:
    """An executable that notes its words, one call a line, in the file `calls` beside it, and then does as told."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / name
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' \"{name} $*\" >> {directory}/calls\n{script}\n")
    program.chmod(0o755)
    return program


def calls(directory: Path) -> list[str]:
    """What was run so far."""
    file = directory / "calls"
    return file.read_text().splitlines() if file.exists() else []
