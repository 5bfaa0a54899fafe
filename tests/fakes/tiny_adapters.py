"""LoRA adapters of the tiny model, good and bad, without a training: ``tiny_adapters.py --model DIR --out DIR``.

``ada`` and ``bob`` change what the model says, each in its own way; ``nothing`` changes nothing, as an adapter that was
never trained; ``cut`` is half a file; ``other`` was made for a wider model, and ``deep`` for one of more layers.
``high`` has a rank above what vLLM takes unless it is told, and ``huge`` one above all that vLLM takes.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

RANK = 8
HIGH, HUGE = 24, 520


def write(model: Path, out: Path) -> None:
    """All of them."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2Config, Qwen2ForCausalLM

    def save(name: str, base: Qwen2ForCausalLM, scale: float, seed: int, rank: int = RANK) -> None:
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
        tuned = get_peft_model(base, config)
        with torch.no_grad():
            for key, value in tuned.named_parameters():
                if "lora_B" in key:
                    value.copy_(torch.randn_like(value) * scale)
        tuned.save_pretrained(out / name)
        tuned.unload()

    for seed, (name, scale) in enumerate({"ada": 2.0, "bob": 3.0, "nothing": 0.0}.items()):
        save(name, Qwen2ForCausalLM.from_pretrained(model), scale, seed)
    save("high", Qwen2ForCausalLM.from_pretrained(model), 2.0, 11, HIGH)
    save("huge", Qwen2ForCausalLM.from_pretrained(model), 2.0, 12, HUGE)
    config = Qwen2Config.from_pretrained(model)
    config.hidden_size, config.intermediate_size = 2 * config.hidden_size, 2 * config.intermediate_size
    save("other", Qwen2ForCausalLM(config), 0.3, 9)
    config = Qwen2Config.from_pretrained(model, num_hidden_layers=4, layer_types=["full_attention"] * 4)
    save("deep", Qwen2ForCausalLM(config), 2.0, 10)
    shutil.copytree(out / "ada", out / "cut", dirs_exist_ok=True)
    weights = out / "cut" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def main() -> None:
    """Below ``--out``, a folder each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    write(args.model, args.out)


if __name__ == "__main__":
    main()
