"""Runs inside an environment with the real ms-swift: makes adapters and checkpoints of the tiny model, exports them by
``swift export``, and sends the results through the tasks of ``runner/export``.

One process takes all cases, because importing ms-swift takes ten seconds. Output, after a line ``RESULTS``: a JSON
object with what each case gave, by name.
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

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY / "operator"), str(REPOSITORY / "tests" / "fakes")]
tiny_model = importlib.import_module("tiny_model")
ROOT = Path("/tmp/export")
BASE = ROOT / "models" / tiny_model.MODEL_NAME
DTYPES = ("float16", "bfloat16", "float32")
LAST = "model.layers.1.mlp.down_proj.weight"
ADAPTERS: dict[str, dict[str, Any]] = {
    "plain": {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"},
    "stabilized": {
        "r": 8, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "up_proj"], "use_rslora": True,
        "alpha_pattern": {"layers.1.mlp.up_proj": 2}, "rank_pattern": {"v_proj": 2},
    },
    "embedding": {
        "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"],
    },
    "embedding-lora": {"r": 4, "lora_alpha": 4, "target_modules": ["embed_tokens", "k_proj"]},
    "dora": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "o_proj"], "use_dora": True},
    "tiny-change": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "scale_of_b": 1e-5},
}  # fmt: skip


def attempt(name: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """What a task gives, or why it refuses."""
    module, task = (importlib.import_module(f"swiftop.runner.{path}") for path in (f"export.{name}", "task"))
    told: list[Any] = []
    try:
        return {**module.work(request, told.append), "phases": sorted({str(one["phase"]) for one in told})}
    except task.Refused as error:
        return {"refused": error.judged.cause.reason, "message": error.judged.message}


def make_adapter(name: str, config: Mapping[str, Any]) -> Path:
    """An adapter whose B is not zero, as after a training."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = dict(config)
    scale = config.pop("scale_of_b", 0.05)
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.bfloat16)
    tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **config))
    for key, value in tuned.named_parameters():
        if "lora_B" in key or "lora_embedding_A" in key or "lora_embedding_B" in key:
            torch.nn.init.normal_(value, std=scale)
        elif "lora_magnitude" in key:
            value.data.mul_(1.25)
        elif "modules_to_save" in key:
            value.data.add_(torch.randn_like(value) * 0.05)
    folder = ROOT / "adapters" / name
    tuned.save_pretrained(folder)
    (folder / "args.json").write_text('{"model_type": "qwen2", "template": "qwen2_5", "system": "Answer in rhymes."}')
    return folder


def merge(name: str, adapter: Path, dtype: str) -> Path:
    """By the real ``swift export``."""
    output = ROOT / "merged" / f"{name}-{dtype}"
    arguments = ["--model", str(BASE), "--adapters", str(adapter), "--merge_lora", "true", "--output_dir", str(output)]
    with contextlib.redirect_stdout(sys.stderr):
        importlib.import_module("swift.pipelines").export_main([*arguments, "--torch_dtype", dtype])
    return output


def merged_cases() -> dict[str, Any]:
    """Every adapter merged, cleaned, and verified twice: by a forward pass, and by a choice of tensors."""
    results: dict[str, Any] = {}
    for name, config in ADAPTERS.items():
        adapter = make_adapter(name, config)
        for dtype in DTYPES if name == "plain" else ("bfloat16",):
            output = merge(name, adapter, dtype)
            mode = oct((output / "model.safetensors").stat().st_mode & 0o777)
            finished = attempt("finish", {"artifact": str(output), "card": {"name": name}})
            request = {"artifact": str(output), "dtype": dtype, "base": str(BASE), "adapters": [str(adapter)]}
            results[f"{name}-{dtype}"] = {
                "mode": mode,
                "finish": finished,
                "left": sorted(path.name for path in output.iterdir()),
                "forward": attempt("verify", request),
                "sampled": attempt("verify", {**request, "forwardLimitBytes": 0}),
            }
    return results


def merged_by_peft() -> dict[str, Any]:
    """What ms-swift was not asked to merge: weights that lie turned, as GPT-2's, and two adapters on one base."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

    torch.manual_seed(3)
    turned, path = ROOT / "turned", ROOT / "turned-merged"
    GPT2LMHeadModel(GPT2Config(vocab_size=100, n_positions=64, n_embd=16, n_layer=2, n_head=2)).save_pretrained(turned)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(turned), config)
    for key, value in tuned.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(value, std=0.1)
    tuned.save_pretrained(ROOT / "adapters" / "turned")
    tuned.merge_and_unload().save_pretrained(path)
    adapters = [ROOT / "adapters" / name for name in ("plain", "stabilized")]
    both, model = ROOT / "both", AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.bfloat16)
    for adapter in adapters:
        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    model.save_pretrained(both)
    wanted = {"artifact": str(path), "base": str(turned), "adapters": [str(ROOT / "adapters" / "turned")]}
    two = {"artifact": str(both), "base": str(BASE), "adapters": [str(adapter) for adapter in adapters]}
    return {
        "turned": attempt("verify", wanted),
        "two": attempt("verify", two),
        "two-of-one": attempt("verify", {**two, "adapters": two["adapters"][:1]}),
    }


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Other tensors in a file."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def nudge(tensors: dict[str, Any]) -> None:
    tensors[LAST][3, 5] += 0.02


def forget(tensors: dict[str, Any]) -> None:
    """One module as it was before the training."""
    from safetensors import safe_open

    with safe_open(BASE / "model.safetensors", framework="pt") as base:
        tensors[LAST] = base.get_tensor(LAST).to(tensors[LAST].dtype)


def spoil(tensors: dict[str, Any]) -> None:
    tensors["model.norm.weight"][0] = float("nan")


def widen(tensors: dict[str, Any]) -> None:
    tensors["model.norm.weight"] = tensors["model.norm.weight"].float()


def drop(tensors: dict[str, Any]) -> None:
    del tensors[LAST]


def other_norm(tensors: dict[str, Any]) -> None:
    tensors["model.norm.weight"] += 0.25


EDITS = {"nudged": nudge, "forgotten": forget, "nan": spoil, "wide": widen, "dropped": drop, "norm": other_norm}


def tampered_cases() -> dict[str, Any]:
    """What a merged model may suffer."""
    good, adapter = ROOT / "merged" / "plain-bfloat16", ROOT / "adapters" / "plain"
    results: dict[str, Any] = {}

    def verify(name: str, edit: Callable[[Path], object], **more: object) -> None:
        path = ROOT / "tampered"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(good, path)
        edit(path)
        request = {"artifact": str(path), "dtype": "bfloat16", "base": str(BASE), "adapters": [str(adapter)]}
        results[name] = attempt("verify", {**request, **more})

    for name, edit in EDITS.items():
        verify(name, lambda path, edit=edit: change(path / "model.safetensors", edit))  # type: ignore[misc]
    verify("nudged-sampled", lambda path: change(path / "model.safetensors", nudge), forwardLimitBytes=0)
    verify("cut", lambda path: cut(path / "model.safetensors"))
    verify("tokenizer", lambda path: (path / "tokenizer.json").write_text("{}"))
    verify("config", lambda path: (path / "config.json").write_text('{"model_type": "none"}'))
    verify("called-quantized", call_quantized)
    verify("wrong-adapter", lambda path: None, adapters=[str(ROOT / "adapters" / "stabilized")])
    verify("wrong-type", lambda path: None, dtype="float16")
    without = ROOT / "models" / "without-weights"
    shutil.copytree(BASE, without, ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True)
    verify("nothing-compared", lambda path: None, base=str(without), forwardLimitBytes=0)
    verify("empty", lambda path: (path / "model.safetensors").unlink())
    return results


def call_quantized(path: Path) -> None:
    """Of a quantized model no weight would be compared with a base."""
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "quantization_config": {}}))
    change(path / "model.safetensors", nudge)


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)


def checkpoint(name: str, *, deepspeed: bool = False) -> Path:
    """A full-tuned checkpoint as a training leaves it: in float32, in shards, beside its states."""
    import torch
    from transformers import AutoModelForCausalLM

    path = ROOT / "checkpoints" / name
    shutil.copytree(BASE, path, ignore=shutil.ignore_patterns("*.safetensors"))
    if deepspeed:
        (path / "global_step20").mkdir()
        (path / "zero_to_fp32.py").write_text("")
    else:
        model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
        torch.manual_seed(2)
        for value in model.parameters():
            value.data.add_(torch.randn_like(value) * 0.01)
        model.save_pretrained(path, max_shard_size="200KB")
    for file in ("optimizer.pt", "rng_state.pth", "scheduler.pt", "trainer_state.json", "training_args.bin"):
        (path / file).write_text("{}")
    (path / "args.json").write_text('{"output_dir": "/home/me"}')
    return path


def full_cases() -> dict[str, Any]:
    """Full-tuned checkpoints converted and verified."""
    source = checkpoint("full")
    results: dict[str, Any] = {}
    for dtype in (*DTYPES, ""):
        name, output = dtype or "as-the-base", ROOT / "full" / (dtype or "base")
        request = {"checkpoint": str(source), "output": str(output), "dtype": dtype, "base": str(BASE)}
        converted = attempt("convert", {**request, "shardBytes": 150_000})
        verify = {"artifact": str(output), "dtype": converted.get("dtype"), "checkpoint": str(source)}
        results[name] = {"convert": converted, "verify": attempt("verify", verify)}
        results[name]["files"] = sorted(found.name for found in output.iterdir())
        results[name]["config"] = json.loads((output / "config.json").read_text()).get("dtype")
        results[name]["loaded"] = loaded_type(output)
    changed = ROOT / "full" / "bfloat16"
    change(changed / shard_of(changed, LAST), nudge)
    verify = {"artifact": str(changed), "dtype": "bfloat16", "checkpoint": str(source)}
    results["tampered"] = attempt("verify", verify)
    config = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps({**config, "quantization_config": {}}))
    results["called-quantized"] = attempt("verify", verify)
    linked = ROOT / "checkpoints" / "linked"
    shutil.copytree(source, linked)
    (linked / "special.json").symlink_to("/etc/passwd")
    results["linked"] = attempt("convert", {"checkpoint": str(linked), "output": str(ROOT / "full" / "linked")})
    bare = checkpoint("deepspeed", deepspeed=True)
    results["deepspeed"] = attempt("convert", {"checkpoint": str(bare), "output": str(ROOT / "full" / "none")})
    return results


def shard_of(path: Path, tensor: str) -> str:
    return str(json.loads((path / "model.safetensors.index.json").read_text())["weight_map"][tensor])


def loaded_type(path: Path) -> str:
    from transformers import AutoModelForCausalLM

    model, told = AutoModelForCausalLM.from_pretrained(path, dtype="auto", output_loading_info=True)
    return f"{model.dtype} {sorted(told['missing_keys'])} {sorted(told['unexpected_keys'])}"


def adapter_cases() -> dict[str, Any]:
    """The adapter itself, as it is published without a merge."""
    output = ROOT / "adapter-alone"
    request = {"checkpoint": str(ROOT / "adapters" / "plain"), "output": str(output), "dtype": "float32"}
    converted = attempt("convert", {**request, "baseName": "Qwen/Qwen2.5-0.5B-Instruct"})
    verified = attempt("verify", {"artifact": str(output), "checkpoint": request["checkpoint"]})
    base = json.loads((output / "adapter_config.json").read_text())["base_model_name_or_path"]
    by_path = ROOT / "adapter-by-path"
    attempt("convert", {**request, "output": str(by_path), "baseName": ""})
    base_by_path = json.loads((by_path / "adapter_config.json").read_text())["base_model_name_or_path"]
    files = sorted(path.name for path in output.iterdir())
    return {"convert": converted, "verify": verified, "base": base, "baseByPath": base_by_path, "files": files}


def main() -> None:
    """Run all cases, print."""
    tiny_model.write_model(BASE, tiny_model.conversations())
    results = {
        "merged": merged_cases(),
        "by_peft": merged_by_peft(),
        "tampered": tampered_cases(),
        "full": full_cases(),
        "adapter": adapter_cases(),
    }
    print("RESULTS")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
