"""Files of weights in the safetensors format, read and written by the standard library alone.

A file is eight bytes with the length of a JSON header, the header (type, shape and place of each tensor), and the
tensors one after the other. Knowing the header of every shard is enough to check an index, to plan new shards and to
write them one tensor at a time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Optional

GIB = 1 << 30
SHARD = 5 * 10**9  # the hubs take a file in one piece: what is cut off starts again
BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32,
    "U16": 16, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "C64": 64, "F4": 4,
}  # fmt: skip
FLOATS = {"F64", "F32", "F16", "BF16"}  # what a change of type converts; quantized weights stay as they are
CODES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
WORDS = {code: word for word, code in CODES.items()}
MODEL, ADAPTER = "model", "adapter_model"
_LONGEST_HEADER = 100 * 1000 * 1000  # the format's own limit
_LONGEST_JSON = 64 << 20  # an index of a million tensors


class Damaged(ValueError):
    """A file of weights, or the index of several, is not what it should be."""


@dataclass(frozen=True)
class Tensor:
    """One tensor in a file."""

    name: str
    dtype: str  # as in the header: BF16
    shape: tuple[int, ...]
    file: str

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def bytes(self) -> int:
        """Its size in the file."""
        return self.elements * BITS[self.dtype] // 8

    def as_type(self, code: str) -> Tensor:
        """The same after a conversion: numbers that are no plain floats are not converted."""
        return replace(self, dtype=code) if self.dtype in FLOATS else self


def within(folder: Path, name: str) -> Path:
    """A file of a folder that others may write to. Raises ``Damaged`` for one that lies elsewhere: by a link or by its
    name a folder could have a secret of the pod, or a model of somebody else, published as its own.

    Hugging Face's cache is a folder of links: those of ``snapshots/<revision>`` lead to ``blobs`` beside it.
    """
    root, path = folder.resolve(), (folder / name).resolve()
    roots = {root, root.parents[1] / "blobs"} if root.parent.name == "snapshots" else {root}
    if not roots & set(path.parents):
        raise Damaged(f"{name} leads out of {folder}: put the file itself there")
    return folder / name


def read_text(path: Path) -> str:
    """A file of text. Raises ``Damaged`` when it is longer than any of its kind is, and ``FileNotFoundError``."""
    with path.open("rb") as file:
        content = file.read(_LONGEST_JSON + 1)
    if len(content) > _LONGEST_JSON:
        raise Damaged(f"{path.name} is larger than {_LONGEST_JSON >> 20} MiB")
    return content.decode("utf-8")


def read_header(path: Path) -> dict[str, Tensor]:
    """Tensors of one file, which has to have the length that its header says."""
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or not 2 <= length <= _LONGEST_HEADER:
            raise Damaged(f"{path.name} is not a safetensors file")
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            found = {name: _tensor(name, entry, path.name) for name, entry in header.items()}
            end = max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
        except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise Damaged(f"the header of {path.name} cannot be read: {error}") from error
    size = path.stat().st_size
    if size != 8 + length + end:
        raise Damaged(f"{path.name} has {size} bytes, but its header describes {8 + length + end}")
    return found


def _tensor(name: str, entry: Mapping[str, object], file: str) -> Tensor:
    shape, dtype = entry["shape"], str(entry["dtype"])
    if not isinstance(shape, list) or dtype not in BITS:
        raise ValueError(f"{name}: {dtype}")
    sizes = tuple(int(size) for size in shape)
    if any(size < 0 for size in sizes):
        raise ValueError(f"{name} has the shape {shape}")
    return Tensor(name, dtype, sizes, file)


def read_folder(folder: Path, stem: str = MODEL) -> dict[str, Tensor]:
    """All tensors of a model or an adapter. Raises ``Damaged`` when index and shards do not fit; empty without any."""
    index = folder / f"{stem}.safetensors.index.json"
    if not index.is_file():
        single = folder / f"{stem}.safetensors"
        return read_header(within(folder, single.name)) if single.is_file() else {}
    try:
        placed = json.loads(read_text(within(folder, index.name)))["weight_map"]
        files = sorted(set(placed.values()))
    except Damaged:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise Damaged(f"{index.name} cannot be read: {error}") from error
    found: dict[str, Tensor] = {}
    for file in files:
        path = within(folder, str(file))
        if not path.is_file():
            raise Damaged(f"{file} is missing, which {index.name} names")
        for name, tensor in read_header(path).items():
            if name in found:
                raise Damaged(f"tensor {name} is in {found[name].file} and in {file}")
            found[name] = tensor
    _compare(index.name, {name: tensor.file for name, tensor in found.items()}, placed)
    return found


def _compare(index: str, found: Mapping[str, str], placed: Mapping[str, str]) -> None:
    if unnamed := sorted(found.keys() - placed.keys()):
        raise Damaged(f"{index} does not name the tensor {unnamed[0]} of {found[unnamed[0]]}")
    for name, file in placed.items():
        if found.get(name) != file:
            raise Damaged(f"{index} names the tensor {name} in {file}, where it is not")


def main_type(tensors: Iterable[Tensor]) -> Optional[str]:
    """Type that most of the plain numbers have; None when there are none."""
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.dtype in FLOATS:
            sizes[tensor.dtype] += tensor.elements
    return sizes.most_common(1)[0][0] if sizes else None


def kept_precise(tensors: Mapping[str, Tensor]) -> frozenset[str]:
    """Tensors that a 16-bit model keeps in 32 bits on purpose, as some routers and state spaces: no conversion's."""
    if main_type(tensors.values()) not in {"F16", "BF16"}:
        return frozenset()
    return frozenset(name for name, tensor in tensors.items() if tensor.dtype in {"F32", "F64"})


def plan(tensors: Iterable[Tensor], *, limit: int = SHARD, stem: str = MODEL) -> list[list[Tensor]]:
    """The same tensors in files of ``limit`` bytes at most; one that is larger gets its own.

    Within a file the wide types stand first, so that each tensor begins at a multiple of its own width.
    """
    shards: list[list[Tensor]] = []
    size = limit
    for tensor in tensors:
        if size + tensor.bytes > limit:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.bytes
    names = file_names(len(shards), stem)
    aligned = [sorted(shard, key=lambda tensor: -BITS[tensor.dtype]) for shard in shards]
    return [[replace(tensor, file=name) for tensor in shard] for name, shard in zip(names, aligned)]


def file_names(count: int, stem: str = MODEL) -> list[str]:
    """As transformers names them."""
    if count == 1:
        return [f"{stem}.safetensors"]
    return [f"{stem}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def index_of(shards: Iterable[Iterable[Tensor]]) -> str:
    """Content of ``model.safetensors.index.json``."""
    tensors = [tensor for shard in shards for tensor in shard]
    total = sum(tensor.bytes for tensor in tensors)
    placed = {tensor.name: tensor.file for tensor in sorted(tensors, key=lambda tensor: tensor.name)}
    return json.dumps({"metadata": {"total_size": total}, "weight_map": placed}, indent=2) + "\n"


def write_header(file: BinaryIO, tensors: Iterable[Tensor]) -> None:
    """Begin a file; the tensors' bytes have to follow in the same order."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}  # transformers opens no file without it
    place = 0
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [place, place + tensor.bytes],
        }
        place += tensor.bytes
    content = json.dumps(header, separators=(",", ":")).encode()
    content += b" " * (-len(content) % 8)  # tensors begin at a multiple of eight bytes
    file.write(len(content).to_bytes(8, "little") + content)
