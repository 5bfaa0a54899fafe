"""A case of ``interpreted.py``: two processes with DistributedDataParallel, by gloo."""

from __future__ import annotations

import os
from typing import Any

import torch

from swiftop.acceleration import layers
from tests.acceleration import tiny

SIZES = {"hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 48}


def _trained(rank: int) -> tiny.Gradients:
    """The gradients of one of two processes in its second step."""
    torch.distributed.init_process_group("gloo", init_method="file:///tmp/rendezvous", rank=rank, world_size=2)
    model = tiny.model(layers=1, config=SIZES)
    layers.fuse(model)
    wrapped = torch.nn.parallel.DistributedDataParallel(model)
    for _ in range(2):
        _, gradients = tiny.step(wrapped, tiny.tokens(seed=5 + rank, length=40))
    torch.distributed.destroy_process_group()
    return gradients


def mean_of_two() -> dict[str, Any]:
    """How far the gradients are from the mean of two plain processes'."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    other = os.fork()
    if other == 0:
        try:
            _trained(1)
        finally:
            os._exit(0)
    found = _trained(0)
    os.waitpid(other, 0)
    model = tiny.model(layers=1, config=SIZES)
    first, second = (tiny.step(model, tiny.tokens(seed=5 + rank, length=40))[1] for rank in range(2))
    return {"gradients": tiny.worst(found, {name: (first[name] + second[name]) / 2 for name in first})}


CASES = {"distributed": mean_of_two}
