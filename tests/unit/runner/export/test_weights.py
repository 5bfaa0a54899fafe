"""Headers, indexes and shards of safetensors, by the standard library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swiftop.runner.export import weights
from swiftop.runner.export.weights import Damaged, Tensor


def tensor(name: str, dtype: str = "BF16", shape: tuple[int, ...] = (4, 2), file: str = "model.safetensors") -> Tensor:
    return Tensor(name, dtype, shape, file)


def write(path: Path, *tensors: Tensor) -> None:
    with path.open("wb") as file:
        weights.write_header(file, tensors)
        file.write(bytes(sum(one.bytes for one in tensors)))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    tensors = [tensor("a"), tensor("b", "F32", (3,)), tensor("empty", "F16", (0, 5)), tensor("scalar", "I64", ())]
    write(tmp_path / "model.safetensors", *tensors)
    assert weights.read_folder(tmp_path) == {one.name: one for one in tensors}
    assert [one.bytes for one in tensors] == [16, 12, 0, 8]


def test_tensors_begin_at_a_multiple_of_eight_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write(path, tensor("odd"))
    length = int.from_bytes(path.read_bytes()[:8], "little")
    assert length % 8 == 0


def test_a_folder_without_weights_is_empty(tmp_path: Path) -> None:
    assert weights.read_folder(tmp_path) == {}


def test_a_cut_file_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write(path, tensor("a"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Damaged, match=r"model\.safetensors has \d+ bytes, but its header describes \d+"):
        weights.read_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", (8).to_bytes(8, "little") + b"{'a': 1}"])
def test_what_is_no_safetensors_file_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(Damaged):
        weights.read_folder(tmp_path)


def sharded(folder: Path, **changed: str) -> None:
    shards = weights.plan([tensor("a"), tensor("b"), tensor("c")], limit=32)
    for shard in shards:
        write(folder / shard[0].file, *shard)
    index = json.loads(weights.index_of(shards))
    index["weight_map"].update(changed)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    sharded(tmp_path)
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    assert {name: one.file for name, one in weights.read_folder(tmp_path).items()} == {
        "a": first, "b": first, "c": second,
    }  # fmt: skip


def test_an_index_that_names_a_tensor_elsewhere_is_damaged(tmp_path: Path) -> None:
    sharded(tmp_path, c="model-00001-of-00002.safetensors")
    with pytest.raises(Damaged, match="names the tensor c in model-00001-of-00002"):
        weights.read_folder(tmp_path)


def test_an_index_that_names_a_missing_tensor_is_damaged(tmp_path: Path) -> None:
    sharded(tmp_path, d="model-00001-of-00002.safetensors")
    with pytest.raises(Damaged, match="names the tensor d in"):
        weights.read_folder(tmp_path)


def test_an_index_that_leaves_a_tensor_out_is_damaged(tmp_path: Path) -> None:
    sharded(tmp_path)
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    del index["weight_map"]["b"]
    path.write_text(json.dumps(index))
    with pytest.raises(Damaged, match="does not name the tensor b of model-00001-of-00002"):
        weights.read_folder(tmp_path)


def test_a_missing_shard_is_damaged(tmp_path: Path) -> None:
    sharded(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(Damaged, match=r"model-00002-of-00002\.safetensors is missing"):
        weights.read_folder(tmp_path)


def test_shards_are_filled_in_order_and_a_large_tensor_gets_its_own() -> None:
    shards = weights.plan([tensor("a"), tensor("large", shape=(64,)), tensor("b"), tensor("c")], limit=40)
    assert [[(one.name, one.file) for one in shard] for shard in shards] == [
        [("a", "model-00001-of-00003.safetensors")],
        [("large", "model-00002-of-00003.safetensors")],
        [("b", "model-00003-of-00003.safetensors"), ("c", "model-00003-of-00003.safetensors")],
    ]


def test_wide_types_stand_first_in_a_shard() -> None:
    (shard,) = weights.plan([tensor("half", shape=(3,)), tensor("whole", "F32"), tensor("byte", "U8", (3,))])
    assert [one.name for one in shard] == ["whole", "half", "byte"]


def test_only_plain_floats_are_converted() -> None:
    assert [tensor("x", dtype).as_type("F16").dtype for dtype in ("BF16", "F32", "I32", "F8_E4M3")] == [
        "F16", "F16", "I32", "F8_E4M3",
    ]  # fmt: skip


def test_the_main_type_is_that_of_most_numbers() -> None:
    tensors = {"big": tensor("big", shape=(100,)), "router": tensor("router", "F32"), "ids": tensor("ids", "I64")}
    assert weights.main_type(tensors.values()) == "BF16"
    assert weights.kept_precise(tensors) == {"router"}


def test_a_model_in_32_bits_keeps_nothing_on_purpose() -> None:
    assert weights.kept_precise({"a": tensor("a", "F32"), "b": tensor("b", "BF16", (1,))}) == frozenset()


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F16", "shape": [1e400], "data_offsets": [0, 8]},
        {"dtype": "F16", "shape": [4], "data_offsets": [0, 1e400]},
        {"dtype": "F16", "shape": [-4], "data_offsets": [0, 8]},
        {"dtype": "F16", "shape": [4], "data_offsets": []},
    ],
)
def test_a_header_of_impossible_numbers_is_damaged(tmp_path: Path, entry: dict[str, object]) -> None:
    header = json.dumps({"a": entry}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(Damaged, match=r"the header of model\.safetensors cannot be read"):
        weights.read_folder(tmp_path)


def test_a_header_of_brackets_alone_is_damaged(tmp_path: Path) -> None:
    header = b"[" * 100_000
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(Damaged, match=r"the header of model\.safetensors cannot be read"):
        weights.read_folder(tmp_path)


@pytest.mark.parametrize("name", ["../other/model.safetensors", "/other/model.safetensors"])
def test_an_index_does_not_reach_into_another_folder(tmp_path: Path, name: str) -> None:
    folder, other = tmp_path / "mine", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    write(other / "model.safetensors", tensor("a"))
    name = name.replace("/other", f"{tmp_path}/other") if name.startswith("/") else name
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(Damaged, match="leads out of"):
        weights.read_folder(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "model.safetensors.index.json"])
def test_weights_are_no_link_to_another_folder(tmp_path: Path, name: str) -> None:
    folder, other = tmp_path / "mine", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    write(other / "model.safetensors", tensor("a"))
    (other / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model.safetensors"}}))
    (folder / name).symlink_to(other / name)
    with pytest.raises(Damaged, match=f"{name} leads out of"):
        weights.read_folder(folder)


def test_a_snapshot_in_the_cache_of_a_hub_is_a_folder_of_links(tmp_path: Path) -> None:
    folder, blobs = tmp_path / "models--me--x" / "snapshots" / "abc", tmp_path / "models--me--x" / "blobs"
    folder.mkdir(parents=True)
    blobs.mkdir()
    write(blobs / "1234", tensor("a"))
    (folder / "model.safetensors").symlink_to("../../blobs/1234")
    assert weights.read_folder(folder).keys() == {"a"}
    secret = tmp_path / "secret"
    secret.write_text("{}")
    (folder / "config.json").symlink_to(secret)
    with pytest.raises(Damaged, match="leads out of"):
        weights.within(folder, "config.json")
