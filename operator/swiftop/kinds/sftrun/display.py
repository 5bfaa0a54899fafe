"""Ready-made texts for the columns of ``kubectl get``: JSONPath can neither join nor round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftop.api.v1alpha1.sftrun import SFTRunSpec
from swiftop.model.times import duration
from swiftop.swift.paths import dataset_path, model_path


def spec_texts(spec: SFTRunSpec) -> dict[str, str]:
    """What the spec alone tells: GPUs, model and dataset."""
    gpus, nodes = spec.resources.gpus, spec.resources.nodes
    names = [dataset_path(source) for source in spec.datasets] or [
        word for arg in spec.extra_args if arg.name == "cached_dataset" for word in arg.words
    ]
    more = len(names) - 1
    return {
        "gpus": f"{nodes}x{gpus}" if nodes > 1 else str(gpus),
        "model": model_path(spec.model),
        "dataset": names[0] + (f" +{more}" if more else "") if names else "",
    }


def progress_texts(progress: Mapping[str, Any]) -> dict[str, str]:
    """What ``status.progress`` tells: steps, time left and loss."""
    step, max_steps = progress.get("step"), progress.get("maxSteps")
    texts = {}
    if step is not None:
        texts["progress"] = f"{step}/{max_steps} ({step * 100 // max_steps}%)" if max_steps else str(step)
    if (eta := progress.get("etaSeconds")) is not None:
        texts["eta"] = duration(eta)
    if (loss := progress.get("loss")) is not None:
        texts["loss"] = f"{loss:.4f}"
    return texts
