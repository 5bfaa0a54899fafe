"""``python -m images [NAME …]``: build images into OCI archives, with docker or buildah, whichever is here."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from images.build import build, export, say
from images.catalog import IMAGES
from images.engines import BuildError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m images", description=__doc__)
    result.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(IMAGES)} (default: all but trainer)")
    result.add_argument("--engine", choices=["docker", "buildah"], help="default: docker where a daemon answers")
    result.add_argument("--build-arg", action="append", default=[], metavar="KEY=VALUE", help="one for the Dockerfile")
    result.add_argument("--output", type=Path, metavar="ARCHIVE", help="also copy the archive here (one NAME only)")
    result.add_argument("--print-path", action="store_true", help="print only the path of each archive")
    result.add_argument("--fresh", action="store_true", help="build again from nothing, e.g. for security updates")
    return result


def main(words: list[str] | None = None) -> int:
    """Build what was asked for; print one line per image."""
    options = parser().parse_args(words)
    names = options.names or [name for name, image in IMAGES.items() if image.base]
    if unknown := sorted(set(names) - set(IMAGES)):
        parser().error(f"no image {', '.join(unknown)}: there are {', '.join(IMAGES)}")
    if options.output and len(names) != 1:
        parser().error("--output takes exactly one NAME")
    if bare := [item for item in options.build_arg if "=" not in item]:
        parser().error(f"--build-arg {bare[0]}: write it as KEY=VALUE")
    arguments = dict(item.split("=", 1) for item in options.build_arg)
    try:
        for name in names:
            built = build(name, engine=options.engine, arguments=arguments, fresh=options.fresh)
            if options.output:
                export(built, options.output)
            line = str(built.archive) if options.print_path else f"{built.ref} {built.tagged} {built.archive}"
            sys.stdout.write(line + "\n")
    except BuildError as error:
        say(f"python -m images: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
