"""The command of a run: a pure function of (spec, identity, ms-swift version).

The command is the child that the runner starts: ``python -m swift.cli.sft``, or torch's launcher around it. Never the
``swift`` script: it starts a child of its own, ignores SIGTERM as PID 1 and never forwards it. What only the pod knows,
its rank and the address of rank 0, stands as a placeholder that the runner fills in, and so does nothing else:
``--resume_from_checkpoint`` is added by the runner, which sees the volume.
"""

from __future__ import annotations

from dataclasses import dataclass

from swiftop.api.v1alpha1.sftrun import SFTRunSpec
from swiftop.api.v1alpha1.training import ExtraArg
from swiftop.errors import Invalid
from swiftop.swift import check, tracking
from swiftop.swift.paths import RunIdentity, hf_home, modelscope_cache
from swiftop.swift.releases import FlagTable, table
from swiftop.swift.typed import Flags, typed_flags

__all__ = ["OPERATIONAL", "Rendered", "RunIdentity", "render"]

NODE_RANK = "$(NODE_RANK)"
MASTER_ADDR = "$(MASTER_ADDR)"
MASTER_PORT = "29500"  # torch's own default

OPERATIONAL: Flags = {
    # A stable directory instead of a new one per start, so that a restarted pod finds its checkpoints.
    "add_version": ("false",),
    # No call home at the start, seconds without network: the model is what the spec says.
    "check_model": ("false",),
    # 4.x: save at the end of the step when the pod is told to go; all ranks agree on it.
    "callbacks": ("graceful_exit",),
}
"""Flags that swiftop adds to what the spec says, where the version knows them."""

MERGED = ("callbacks", "report_to", "external_plugins")
"""List flags that swiftop and ``extraArgs`` fill together; any other flag in ``extraArgs`` replaces ours."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """Command and non-secret environment of the training process."""

    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...]


def render(spec: SFTRunSpec, *, run: RunIdentity, version: str) -> Rendered:
    """Command and environment; raises ``Invalid`` for what this ms-swift version would refuse."""
    known = table(version)
    found = check.problems(spec, version)
    if found:
        raise Invalid(tuple(found))
    flags = {**typed_flags(spec, run, known), **_operational(known)}
    command = (*_launcher(spec), "-m", "swift.cli.sft", *_words(_with_extra(flags, spec.extra_args)))
    return Rendered(command=command, env=tuple(_env(spec, run).items()))


def _operational(known: FlagTable) -> Flags:
    return {name: values for name, values in OPERATIONAL.items() if name in known.flags}


def _launcher(spec: SFTRunSpec) -> tuple[str, ...]:
    """One process needs no launcher: several GPUs are then shared by layers (``device_map``).

    DeepSpeed and FSDP ask for their rank even then: without a launcher's LOCAL_RANK, DeepSpeed looks for MPI.
    """
    processes, nodes = spec.resources.processes, spec.resources.nodes
    sharded = spec.training.deepspeed is not None or any(arg.name == "fsdp" for arg in spec.extra_args)
    if processes == 1 and nodes == 1 and not sharded:
        return ("python",)
    launcher = ("python", "-m", "torch.distributed.run", "--nproc_per_node", str(processes))
    if nodes == 1:
        return launcher
    rendezvous = ("--node_rank", NODE_RANK, "--master_addr", MASTER_ADDR, "--master_port", MASTER_PORT)
    return (*launcher, "--nnodes", str(nodes), *rendezvous)


def _with_extra(flags: Flags, extra: tuple[ExtraArg, ...]) -> Flags:
    result = dict(flags)
    for arg in extra:
        values = extra_values(arg)
        if arg.name in MERGED:
            ours = tuple(v for v in result.get(arg.name, ()) if v != "none")
            values = tuple(dict.fromkeys((*ours, *values)))
        result[arg.name] = values
    return result


def extra_values(arg: ExtraArg) -> tuple[str, ...]:
    """Words of one extra argument, in whichever way they are given."""
    if arg.values is not None:
        return arg.values
    return ((arg.json_text if arg.json_text is not None else arg.value) or "",)


def _words(flags: Flags) -> list[str]:
    """``--name value…``; a value that starts with a dash would be taken for a flag, so it is joined by ``=``."""
    words = []
    for name, values in flags.items():
        if len(values) == 1 and values[0].startswith("-"):
            words.append(f"--{name}={values[0]}")
        else:
            words += [f"--{name}", *values]
    return words


def _env(spec: SFTRunSpec, run: RunIdentity) -> dict[str, str]:
    env = {"MODELSCOPE_CACHE": modelscope_cache(spec), "HF_HOME": hf_home(spec), **tracking.env(spec, run)}
    if spec.resources.cpu is not None:
        env["OMP_NUM_THREADS"] = str(threads(spec.resources.cpu, spec.resources.processes))
    if spec.resources.gpus:
        # Batches differ in length, and torch's fixed segments end in pieces that no batch fits: docs/performance.md.
        env["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
    return env


def threads(cpu: str, processes: int) -> int:
    """Threads per process: torch counts the node's cores, not the container's, and threads in excess spin in vain."""
    cores = float(cpu[:-1]) / 1000 if cpu.endswith("m") else float(cpu)
    return max(1, int(cores) // processes)
