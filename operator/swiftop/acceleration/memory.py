"""How much memory of a GPU a training needs, and what of its settings is best where it has that much.

A sum over what lies there when most of it is taken: weights, gradients and the optimizer's state, what the layers keep
for the backward pass, and the larger of two moments: the backward pass of one layer, or the logits and their loss. Each
term counts tensors by their size; the few factors that no count gives are fitted to measured runs of a 7B model, which
the tests hold. Pure, for the operator too, and for every Python from 3.9 on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

GIB = 1 << 30
SHARE = 0.9
"""Of a GPU's free memory that may be planned with: the rest is for CUDA, NCCL and what lies between the tensors."""
_ADAM = 16  # bytes of a trained float32 number: itself, its gradient, two moments
_ENOUGH = {False: 12_288, True: 24_576}
"""Tokens of a micro-batch, without and with checkpointing, beyond which it is not faster any more (7B, H100)."""
_OVERHEAD = 1400  # tokens that could be trained in the time that a micro-batch costs, however small it is
_RECOMPUTED = 1.5  # time of a token with checkpointing: three passes through frozen weights for two
_SCALES = 0.06  # bytes of a quantized number's share in the scale of its block
_NEEDED = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size")
_GPUS = (2, 4, 8, 16, 32, 64)
_STEPS = 32  # that a row's length is shortened by, at least 128 tokens each


@dataclass(frozen=True)
class Shape:
    """A decoder with gated MLPs, as nearly all of today's are."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    parameters: int

    @property
    def inputs(self) -> int:
        """Columns of the matrices of a layer, added up: q, k, v, o, gate, up, down."""
        return 5 * self.hidden + self.heads * self.head_dim + self.intermediate

    @property
    def outputs(self) -> int:
        """Their rows."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim + 2 * self.intermediate + 2 * self.hidden

    @property
    def linear(self) -> int:
        """Numbers in the matrices of all layers."""
        attention = 2 * (self.heads + self.kv_heads) * self.head_dim * self.hidden
        return self.layers * (attention + 3 * self.intermediate * self.hidden)


@dataclass(frozen=True)
class Training:
    """What of a training decides how much memory it needs."""

    shape: Shape
    rows: int = 1  # of a micro-batch; packs, with packing
    length: int = 2048  # tokens of a row at most
    checkpointing: bool = True
    liger: bool = False
    fused: bool = False  # adapters and their layers as one function
    eightbit: bool = False
    padded: bool = False  # rows are filled up to the longest, and attention masked
    full: bool = False
    rank: int = 8
    dropout: bool = True
    bits: int = 16  # of a frozen weight
    stage: int = 0  # of ZeRO; FSDP is 3
    gpus: int = 1

    @property
    def tokens(self) -> int:
        """Of a micro-batch, at most."""
        return self.rows * self.length


@dataclass(frozen=True)
class Choice:
    """Settings that fit, the fastest of them."""

    rows: int
    accumulation: int
    checkpointing: bool
    gib: float


@dataclass(frozen=True)
class Change:
    """One change that makes a training fit."""

    what: str  # Liger, Checkpointing, BatchSize, MaxLength, Quantization, Gpus; Together: the first three
    training: Training
    gib: float


@dataclass(frozen=True)
class Fit:
    """Whether a training fits, and else which changes, each by itself, make it fit: the least costly first."""

    gib: float
    limit: float
    changes: tuple[Change, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether it does as it is."""
        return self.gib <= self.limit


def shape_of(config: Mapping[str, Any]) -> Shape | None:
    """Out of a model's ``config.json``; None for what is no plain decoder: experts, images, other names."""
    if any(config.get(name) for name in ("num_experts", "num_local_experts", "n_routed_experts", "vision_config")):
        return None
    layers, hidden, heads, intermediate, vocab = (_count(config.get(name)) for name in _NEEDED)
    if not (layers and hidden and heads and intermediate and vocab):
        return None
    kv_heads = _count(config.get("num_key_value_heads")) or heads
    head_dim = _count(config.get("head_dim")) or hidden // heads
    shape = Shape(layers, hidden, heads, kv_heads, head_dim, intermediate, vocab, 0)
    embeddings = vocab * hidden * (1 if config.get("tie_word_embeddings") else 2)
    return replace(shape, parameters=shape.linear + embeddings + (2 * layers + 1) * hidden)


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def estimate(training: Training) -> float:
    """GiB at the peak, on each GPU."""
    tokens = training.tokens
    kept = training.shape.layers * _kept_of_a_layer(training)
    moment = _backward_of_a_layer(training)
    if training.checkpointing:
        kept = training.shape.layers * 2 * training.shape.hidden
        moment += _kept_of_a_layer(training)
    return (_state(training) + tokens * (kept + max(moment, _logits(training)))) / GIB


def _state(training: Training) -> float:
    """Bytes of weights, gradients and optimizer, whatever is trained on."""
    shape, over = training.shape, [1 if training.stage < stage else training.gpus for stage in (1, 2, 3)]
    if training.full:
        moments = 12 if training.stage else 4  # DeepSpeed keeps float32 copies of weights and moments
        return shape.parameters * (moments / over[0] + 2 / over[1] + 2 / over[2])
    adapters = training.rank * shape.layers * (shape.inputs + shape.outputs)
    linear = shape.linear * (training.bits / 8 + (_SCALES if training.bits < 16 else 0) + 2 * training.eightbit)
    frozen = linear + 2 * (shape.parameters - shape.linear)
    return frozen / over[2] + adapters * (_ADAM + (4 if training.gpus > 1 else 0))  # buckets of gradients


def _kept_of_a_layer(training: Training) -> float:
    """Bytes for each token that its forward pass leaves for the backward pass."""
    shape = training.shape
    plain = 5 * shape.hidden + (shape.heads + 2 * shape.kv_heads) * shape.head_dim + 2 * shape.intermediate
    if training.fused:
        return 2 * plain + (3 * shape.hidden if training.eightbit else 0)
    if training.full:
        return 2 * (plain + shape.intermediate)
    # peft: the input of each adapter once more in 16 bits, and the mask of its dropout
    return 2 * plain + (3 if training.dropout else 2) * shape.inputs


def _backward_of_a_layer(training: Training) -> float:
    """Bytes for each token that come and go while the backward pass is in one layer."""
    shape = training.shape
    if training.fused:
        return 2 * shape.intermediate + 4 * shape.hidden
    masks = 2 * shape.heads * training.length if training.padded else 0
    return 8 * shape.intermediate + 4 * shape.hidden + masks


def _logits(training: Training) -> float:
    """Bytes for each token of the model's head and the loss; liger never has all logits at once."""
    if training.liger:
        return 6 * training.shape.hidden
    return (12 if training.padded else 10.5) * training.shape.vocab


def choose(
    training: Training,
    gib: float,
    *,
    accumulation: int,
    batch: bool = True,
    checkpointing: bool = True,
) -> Choice | None:
    """The fastest settings that ``gib`` hold, at the same product of rows and accumulation; None when none does.

    ``batch`` and ``checkpointing``: whether they may be changed at all.
    """
    product = training.rows * accumulation
    found = []
    for rows in _divisors(product) if batch else (training.rows,):
        for recomputed in (False, True) if checkpointing else (training.checkpointing,):
            needs = estimate(replace(training, rows=rows, checkpointing=recomputed))
            if needs <= gib:
                found.append(Choice(rows, product // rows, recomputed, needs))
    return min(found, key=lambda choice: (_slowness(choice, training.length), choice.gib), default=None)


def _slowness(choice: Choice, length: int) -> float:
    """Time of a token, in that of one without checkpointing in an endless micro-batch."""
    tokens = min(choice.rows * length, _ENOUGH[choice.checkpointing])
    return round((_RECOMPUTED if choice.checkpointing else 1) + _OVERHEAD / tokens, 3)


def _divisors(number: int) -> Iterator[int]:
    return (each for each in range(1, number + 1) if number % each == 0)


def fit(training: Training, gib: float) -> Fit:
    """Whether ``gib`` hold the training; ``gib`` is what may be planned with."""
    needs = estimate(training)
    if needs <= gib:
        return Fit(needs, gib)
    together = replace(training, liger=True, checkpointing=True, rows=1)
    found = _fitting(_changes(training, gib), gib) or _fitting([("Together", together)], gib)
    return Fit(needs, gib, found)


def _fitting(changes: Iterable[tuple[str, Training]], gib: float) -> tuple[Change, ...]:
    tried = (Change(what, changed, estimate(changed)) for what, changed in changes)
    return tuple(change for change in tried if change.gib <= gib)


def _changes(training: Training, gib: float) -> Iterator[tuple[str, Training]]:
    """Each kind of change, as small as it may be."""
    if not training.liger:
        yield "Liger", replace(training, liger=True)
    if not training.checkpointing:
        yield "Checkpointing", replace(training, checkpointing=True)
    if training.rows > 1:
        smaller = (replace(training, rows=rows) for rows in sorted(_divisors(training.rows), reverse=True)[1:])
        yield "BatchSize", _first(smaller, gib) or replace(training, rows=1)
    step = max(128, training.length // _STEPS // 128 * 128)
    lengths = range((training.length - 1) // step * step, 0, -step)
    shorter = _first((replace(training, length=length) for length in lengths), gib)
    if shorter is not None:
        yield "MaxLength", shorter
    if not training.full and training.bits > 4 and training.stage != 3:
        yield "Quantization", replace(training, bits=4, fused=False, eightbit=False)
    more = (
        replace(training, gpus=gpus, stage=3, fused=False, eightbit=False) for gpus in _GPUS if gpus > training.gpus
    )
    sharded = _first(more, gib)
    if sharded is not None:
        yield "Gpus", sharded


def _first(trainings: Iterator[Training], gib: float) -> Training | None:
    return next((each for each in trainings if estimate(each) <= gib), None)
