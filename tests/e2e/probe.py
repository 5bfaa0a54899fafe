"""Looks into the processes of a pod: which were started, what their environment is, and a merge that can be held.

``USERCUSTOMIZE`` is run by each Python that starts, the runner (PID 1) left out, since nothing blanks its output. It
prints the environment, as an unlucky library may, writes down the module, and keeps a merge that has written all its
files from ending while the folder has a file ``hold``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.e2e import objects
from tests.e2e.objects import Object
from tests.e2e.site import Site

CONFIG_MAP = "probe"
FOLDER = f"/{objects.RUNS}/probe"  # in the tool pod
MERGE = "swift.cli.export"
USERCUSTOMIZE = f"""
import atexit, os, sys, time

def hold():
    while os.path.exists(FOLDER + "/hold"):
        open(FOLDER + "/held", "w").close()
        time.sleep(0.1)

if os.getpid() != 1:
    FOLDER = os.environ["PROBE"]
    module = sys.orig_argv[2] if sys.orig_argv[1:2] == ["-m"] else " ".join(sys.orig_argv[1:2])
    print("environment:", dict(os.environ), flush=True)
    with open(FOLDER + "/started", "a") as started:
        print(module, file=started)
    if module == {MERGE!r}:
        atexit.register(hold)
"""


@dataclass(frozen=True)
class Probe:
    """The probe of one export. Its folder is on the claim of the runs, which is the output."""

    site: Site
    name: str

    @property
    def folder(self) -> str:
        """In the tool pod."""
        return f"{FOLDER}/{self.name}"

    def prepare(self, *, held: bool) -> None:
        """Make the folder, before the export starts."""
        self.site.shell(f"mkdir -p {self.folder}" + (f" && touch {self.folder}/hold" if held else ""))

    def runtime(self, env: Iterable[Object], base: str) -> Object:
        """``spec.runtime`` with the probe; ``base`` is where this Python looks below a user's folder."""
        mount = {"name": CONFIG_MAP, "mountPath": f"/probe/{base}", "readOnly": True}
        return light(
            [*env, _variable("PYTHONUSERBASE", "/probe"), _variable("PROBE", f"/swiftop/output/probe/{self.name}")],
            container={"volumeMounts": [mount]},
            volumes=[{"name": CONFIG_MAP, "configMap": {"name": CONFIG_MAP}}],
        )

    def release(self) -> None:
        """Let this merge and all that follow end."""
        self.site.shell(f"rm -f {self.folder}/hold && rm -f {self.folder}/held")

    def started(self) -> list[str]:
        """Modules of all processes, in the order of their starts."""
        return self.site.shell(f"cat {self.folder}/started").split()


def light(env: Iterable[Object], *, container: Object | None = None, volumes: Iterable[Object] = ()) -> Object:
    """``spec.runtime`` of a pod that waits more than it computes: it takes the core that is free."""
    trainer = {"name": "swift", "resources": {"requests": {"cpu": "50m", "memory": "300Mi"}}, **(container or {})}
    spec: dict[str, Any] = {"containers": [trainer], **({"volumes": list(volumes)} if volumes else {})}
    return {"env": list(env), "podPatch": {"spec": spec}}


def user_packages(site: Site) -> str:
    """Where the Python of the trainer image looks for ``usercustomize``, below PYTHONUSERBASE."""
    code = "import os, site; print(os.path.relpath(site.getusersitepackages(), site.getuserbase()))"
    return site.shell(f"python -c '{code}'").strip()


def _variable(name: str, value: str) -> Object:
    return {"name": name, "value": value}
