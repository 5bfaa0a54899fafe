"""A tiny image with a shell and a web server, for pods that need no more: Debian's static busybox in an archive."""

from pathlib import Path

from tools.cluster.host import install_packages
from tools.cluster.images import write_archive
from tools.cluster.layout import ClusterError

IMAGE = "localhost/busybox:1"
_PROGRAM = Path("/bin/busybox")
_DYNAMIC_LOADER = b"/ld-linux"


def archive(path: Path) -> Path:
    """Write the archive of the image `IMAGE`."""
    if not _is_static(_PROGRAM):
        install_packages(["busybox-static"])
    if not _is_static(_PROGRAM):
        raise ClusterError(f"{_PROGRAM} is not statically linked: install the package busybox-static")
    names = ("busybox", "sh", "sleep", "wget", "nslookup", "httpd", "nc", "id", "cat")
    write_archive(path, IMAGE, {f"bin/{name}": _PROGRAM for name in names}, ["/bin/sh"])
    return path


def _is_static(program: Path) -> bool:
    return program.exists() and _DYNAMIC_LOADER not in program.read_bytes()[:4096]
