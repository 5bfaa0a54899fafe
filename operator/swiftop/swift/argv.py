"""The command line of ms-swift, for any of its programs: words of flags, the launcher, placeholders, threads.

A program is started as ``python -m swift.cli.sft``, or by torch's launcher around it. Never by the ``swift`` script: it
starts a child of its own, ignores SIGTERM as PID 1 and never forwards it. What only the pod knows, its rank and the
address of rank 0, stands as a placeholder that the runner fills in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from swiftop.api.v1alpha1.base import Model
from swiftop.api.v1alpha1.flags import ExtraArg, passed_as

Flags = dict[str, tuple[str, ...]]
"""Words by flag: one for most flags, several for list flags."""

NODE_RANK = "$(NODE_RANK)"
MASTER_ADDR = "$(MASTER_ADDR)"
MASTER_PORT = "29500"  # torch's own default


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """How the processes of a training are started: by torchrun (``elastic``), or as the one process that there is."""

    processes: int = 1  # per node
    nodes: int = 1
    elastic: bool = False

    @property
    def world_size(self) -> int:
        """Processes on all nodes."""
        return self.processes * self.nodes

    @property
    def words(self) -> tuple[str, ...]:
        """What stands before ``-m <program>``."""
        if not self.elastic:
            return ("python",)
        launcher = ("python", "-m", "torch.distributed.run", "--nproc_per_node", str(self.processes))
        if self.nodes == 1:
            return launcher
        rendezvous = ("--node_rank", NODE_RANK, "--master_addr", MASTER_ADDR, "--master_port", MASTER_PORT)
        return (*launcher, "--nnodes", str(self.nodes), *rendezvous)


def passed(model: Model | None) -> Flags:
    """Flags of the fields that are marked with :class:`Flag`, those of the model's members last.

    What is absent is not passed: ms-swift's own default holds.
    """
    if model is None:
        return {}
    own: Flags = {}
    members: Flags = {}
    for name, field in type(model).model_fields.items():
        value, flag = getattr(model, name), passed_as(field)
        if isinstance(value, Model):
            members |= passed(value)
        elif flag is not None and value is not None and value != ():
            own[flag] = tuple(map(_text, value)) if isinstance(value, tuple) else (_text(value),)
    return own | members


def _text(value: object) -> str:
    """A value as ms-swift reads it: ``true`` and ``false`` in small letters."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def with_extra(flags: Mapping[str, tuple[str, ...]], extra: Iterable[ExtraArg], *, merged: Collection[str]) -> Flags:
    """``flags`` and the user's own: of the list flags in ``merged`` both stand, of any other the user's wins."""
    result = dict(flags)
    for arg in extra:
        words = arg.words
        if arg.name in merged:
            ours = tuple(word for word in result.get(arg.name, ()) if word != "none")
            words = tuple(dict.fromkeys((*ours, *words)))
        result[arg.name] = words
    return result


def words(flags: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """``--name value…``; a value that starts with a dash would be taken for a flag, so it is joined by ``=``."""
    result: list[str] = []
    for name, values in flags.items():
        if len(values) == 1 and values[0].startswith("-"):
            result.append(f"--{name}={values[0]}")
        else:
            result += [f"--{name}", *values]
    return tuple(result)


def threads(cpu: str, processes: int) -> int:
    """Threads per process: torch counts the node's cores, not the container's, and threads in excess spin in vain."""
    cores = float(cpu[:-1]) / 1000 if cpu.endswith("m") else float(cpu)
    return max(1, int(cores) // processes)
