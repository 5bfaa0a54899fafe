"""How serving ends. ``runner/causes.py`` has these among its own."""

from __future__ import annotations

from ..ends import EXIT_ARTIFACT, EXIT_ENGINE, EXIT_FINISHED, EXIT_STALLED, EXIT_USER, EndClass

DRAINED = EndClass("Drained", EXIT_FINISHED)

PORT_TAKEN = EndClass(
    "PortTaken",
    EXIT_USER,
    "Something else in the pod listens on the port of the endpoint: look for a sidecar or hostNetwork, and let it use "
    "another port.",
    (r"while attempting to bind on address",),
)
ADAPTER_INVALID = EndClass(
    "AdapterInvalid",
    EXIT_ARTIFACT,
    "The message names the adapter and what is wrong with it: check its path, that its files are complete, and that it "
    "was trained on this model.",
    (r"While loading .{1,300}, expected target modules in",),
)
ENGINE_DEAD = EndClass(
    "EngineDead",
    EXIT_ENGINE,
    "The engine failed and cannot answer any more; the container is started again. When it happens again, look at the "
    "last log lines, the GPUs (nvidia-smi, Xid errors in the node's log) and the memory limit.",
    (r"EngineDeadError|EngineCore encountered an issue|WorkerProc initialization failed",),
    transient=True,
    vague=True,
)
ENGINE_STALLED = EndClass(
    "EngineStalled",
    EXIT_STALLED,
    "Requests were in flight and no token came for too long; the container is started again. When answers are just "
    "slow, shorten the input with maxModelLength or give it more CPUs or GPUs.",
    transient=True,
)
LOAD_TIMEOUT = EndClass(
    "LoadTimeout",
    EXIT_STALLED,
    "The model was not loaded in time: look at the download and the volume it is read from, or use a cache.",
    transient=True,
)
TEMPLATE_DIFFERS = EndClass(
    "TemplateDiffers",
    EXIT_USER,
    "The engine's own server would give the model other prompts than its training did, and the message says where they "
    "part: use server: Swift, or Auto, which takes Swift by itself.",
)

GATE_FAILED = EndClass(
    "GateFailed",
    EXIT_ARTIFACT,
    "The message tells what was asked and what was answered: serve a better checkpoint, or correct rollout.gate.",
)

FAILURES = (PORT_TAKEN, ADAPTER_INVALID, ENGINE_DEAD, ENGINE_STALLED, LOAD_TIMEOUT, TEMPLATE_DIFFERS, GATE_FAILED)
