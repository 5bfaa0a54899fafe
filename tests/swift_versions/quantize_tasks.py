"""Runs inside an environment with the real ms-swift: quantizes a small model and sends it through ``export.quantized``.

bnb runs as it is. fp8 is transformers' own too, without its question for a GPU, which only a forward pass needs. awq
and gptq need packages that need a GPU, so their files are made here, as theirs are. Output, after a line ``RESULTS``:
a JSON object with what each case gave, by name.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

sys.path.insert(0, str(Path(__file__).parent))
export_tasks = importlib.import_module("export_tasks")
attempt, tiny_model = export_tasks.attempt, export_tasks.tiny_model
ROOT = Path("/tmp/quantize")
FULL = ROOT / tiny_model.MODEL_NAME
LAST = "model.layers.1.mlp.down_proj"
NORM = "model.layers.0.input_layernorm.weight"
BNB: dict[str, tuple[dict[str, Any], list[str]]] = {
    "bnb-4": ({"bits": 4}, []),
    "bnb-8": ({"bits": 8}, []),
    "bnb-fp4": (
        {"bits": 4, "dataType": "fp4"}, ["--bnb_4bit_quant_type", "fp4", "--bnb_4bit_use_double_quant", "false"],
    ),
}  # fmt: skip


def make_model() -> None:
    """The tests' model with biases and norms of its own, and sizes that are multiples of 128, as fp8 asks for.

    No size is 128 itself: transformers 4.57 loses the dimension of a single block, and fails.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config

    tiny = ROOT / "tiny" / tiny_model.MODEL_NAME
    tiny_model.write_model(tiny, tiny_model.conversations())
    config = Qwen2Config.from_pretrained(
        tiny, hidden_size=256, intermediate_size=384, num_attention_heads=2, num_key_value_heads=2, head_dim=128,
        tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(4)
    model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    for name, value in model.named_parameters():
        if name.endswith((".bias", "norm.weight")):
            torch.nn.init.normal_(value, std=0.5)
    model.save_pretrained(FULL)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(FULL)
    (FULL / "args.json").write_text('{"model_type": "qwen2", "bnb_4bit_quant_type": "nf4"}')


def export(name: str, *words: str) -> Path:
    """By the real ``swift export``."""
    output = ROOT / name
    arguments = ["--model", str(FULL), "--output_dir", str(output), "--load_args", "false", *words]
    with contextlib.redirect_stdout(sys.stderr):
        importlib.import_module("swift.pipelines").export_main(arguments)
    return output


def quantize_fp8(name: str, dtype: str) -> Path:
    """Without a GPU, and without the compiler of its kernels, which is imported with them."""
    sys.modules.setdefault("triton", MagicMock(__spec__=None))
    sys.modules.setdefault("triton.language", MagicMock(__spec__=None))
    quantizer = importlib.import_module("transformers.quantizers.quantizer_finegrained_fp8").FineGrainedFP8HfQuantizer
    quantizer.validate_environment = lambda *_args, **_kwargs: None
    return export(name, "--quant_method", "fp8", "--torch_dtype", dtype)


def pack(name: str, method: str, bits: int, group: int) -> Path:
    """Files as autoawq and gptqmodel write them; the packed numbers are of no account."""
    import torch
    from safetensors.torch import load_file, save_file

    output = ROOT / name
    shutil.copytree(FULL, output, ignore=shutil.ignore_patterns("args.json"))
    tensors: dict[str, Any] = {}
    for key, value in load_file(FULL / "model.safetensors").items():
        module = key.removesuffix(".weight")
        if not key.endswith("_proj.weight"):
            tensors[key] = value.half()
            continue
        rows, columns = value.shape
        groups = 1 if group < 0 else columns // group
        packed = (columns, rows * bits // 32) if method == "awq" else (columns * bits // 32, rows)
        tensors[f"{module}.qweight"] = torch.zeros(packed, dtype=torch.int32)
        tensors[f"{module}.qzeros"] = torch.zeros((groups, rows * bits // 32), dtype=torch.int32)
        tensors[f"{module}.scales"] = torch.ones((groups, rows), dtype=torch.float16)
        if method == "gptq":
            tensors[f"{module}.g_idx"] = torch.zeros(columns, dtype=torch.int32)
        elif NORM.rpartition(".")[0] + ".weight" in tensors:
            tensors[NORM] = tensors[NORM] * 2  # awq moves scales into what stands before a weight
    save_file(tensors, output / "model.safetensors", {"format": "pt"})
    config = json.loads((output / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method, "bits": bits, "group_size": group}
    (output / "config.json").write_text(json.dumps(config))
    return output


def checked(output: Path, method: str, **more: Any) -> dict[str, Any]:
    request = {"artifact": str(output), "source": str(FULL), "method": method, **more}
    found: dict[str, Any] = attempt("quantized", request)
    return found


def tampered(output: Path, name: str, change: Callable[[dict[str, Any]], None], method: str, **more: Any) -> Any:
    """The result after a change of its tensors."""
    from safetensors.torch import load_file, save_file

    copy = ROOT / f"tampered-{name}"
    shutil.copytree(output, copy)
    tensors = load_file(copy / "model.safetensors")
    change(tensors)
    save_file({key: value.contiguous() for key, value in tensors.items()}, copy / "model.safetensors", {"format": "pt"})
    return checked(copy, method, **more)


def changes(suffix: str, factor: float) -> Callable[[dict[str, Any]], None]:
    """One tensor of the last layer times ``factor``."""

    def change(tensors: dict[str, Any]) -> None:
        value = tensors[LAST + suffix]
        tensors[LAST + suffix] = (value.float() * factor).to(value.dtype)

    return change


def other_weights(tensors: dict[str, Any]) -> None:
    """Two equal tensors take each other's place."""
    one, other = f"{LAST}.weight", "model.layers.0.mlp.down_proj.weight"
    tensors[one], tensors[other] = tensors[other], tensors[one]


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda tensors: tensors.__delitem__(name)


def plain_copy(name: str, config: Mapping[str, Any]) -> Path:
    """What is not quantized, and says that it is."""
    output = ROOT / name
    shutil.copytree(FULL, output)
    content = json.loads((output / "config.json").read_text())
    (output / "config.json").write_text(json.dumps({**content, "quantization_config": dict(config)}))
    return output


def cases() -> dict[str, Any]:
    found: dict[str, Any] = {}
    made: dict[str, Path] = {}
    for name, (wanted, words) in BNB.items():
        made[name] = export(name, "--quant_method", "bnb", "--quant_bits", str(wanted["bits"]), *words)
        found[name] = checked(made[name], "bnb", **wanted)
    for dtype in ("bfloat16", "float16"):
        made[f"fp8-{dtype}"] = quantize_fp8(f"fp8-{dtype}", dtype)
        found[f"fp8-{dtype}"] = checked(made[f"fp8-{dtype}"], "fp8")
    for name, method, bits, group in (("awq", "awq", 4, 128), ("gptq", "gptq", 3, 64), ("column", "gptq", 8, -1)):
        made[name] = pack(name, method, bits, group)
        found[name] = checked(made[name], method, bits=bits, groupSize=group)
    finished = attempt("finish", {"artifact": str(made["fp8-bfloat16"])})
    found["finish"] = {"dtype": finished["dtype"], "removed": finished["removed"]}
    fp8, four, eight = made["fp8-bfloat16"], made["bnb-4"], made["bnb-8"]
    wrong = {
        "fp8-factor": tampered(fp8, "fp8-factor", changes(".weight_scale_inv", 1.25), "fp8"),
        "fp8-swapped": tampered(fp8, "fp8-swapped", other_weights, "fp8"),
        "fp8-no-factor": tampered(fp8, "fp8-no-factor", without(f"{LAST}.weight_scale_inv"), "fp8"),
        "fp8-norm": tampered(fp8, "fp8-norm", lambda t: t.update({NORM: t[NORM] + 0.25}), "fp8"),
        "fp8-dropped": tampered(fp8, "fp8-dropped", without(f"{LAST}.weight"), "fp8"),
        "bnb-4-swapped": tampered(four, "bnb-4-swapped", other_weights, "bnb", bits=4),
        "bnb-8-factor": tampered(eight, "bnb-8-factor", changes(".SCB", 1.25), "bnb", bits=8),
        "bnb-other-bits": checked(eight, "bnb", bits=4),
        "bnb-other-type": checked(four, "bnb", bits=4, dataType="fp4"),
        "gptq-other-group": checked(made["gptq"], "gptq", bits=3, groupSize=128),
        "gptq-other-version": checked(made["gptq"], "gptq_v2", bits=3, groupSize=64),
        "gptq-cut": tampered(
            made["gptq"], "gptq-cut", lambda t: t.update({f"{LAST}.qweight": t[f"{LAST}.qweight"][:-1]}), "gptq",
            bits=3, groupSize=64,
        ),
        "awq-no-scales": tampered(made["awq"], "awq-no-scales", without(f"{LAST}.scales"), "awq", bits=4),
        "not-quantized": checked(FULL, "fp8"),
        "says-so-only": checked(plain_copy("says-so", {"quant_method": "fp8"}), "fp8"),
    }  # fmt: skip
    for name in ("triton", "triton.language"):
        del sys.modules[name]
    packages = {method: attempt("quantizable", {"method": method}) for method in ("awq", "gptq", "bnb", "fp8")}
    packages["again"] = attempt("quantizable", {"method": "bnb", "folder": str(four)})
    return {"good": found, "wrong": wrong, "packages": packages}


if __name__ == "__main__":
    make_model()
    results = cases()
    print("RESULTS")
    print(json.dumps(results))
