"""Runs inside an environment: prints the release of its ms-swift."""

from importlib.metadata import version

print(version("ms-swift"))
