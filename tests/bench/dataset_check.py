"""How fast a file of chats is checked, and in how much memory: ``python -m tests.bench.dataset_check [--gib 1 10]``.

The file is generated: ShareGPT rows of 1 to 4 KB, half of them ASCII, a quarter Chinese, a quarter with escapes, all
different. It is read from the page cache where it fits, so that the disk is not what is measured. The check runs in a
process of its own with nothing but the runner's package, as in a pod.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from string import ascii_lowercase

ROOT = Path(__file__).parents[2] / "operator"
BLOCK_ROWS = 2000
CHECK = """
import json, sys, time
from pathlib import Path
from swiftop.runner.rows.check import Options, check
start = time.process_time(), time.perf_counter()
found = check(Path(sys.argv[1]), Options())
assert found.problem(0) == "", found
cpu, wall = time.process_time() - start[0], time.perf_counter() - start[1]
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
peak = int(status["VmHWM"].split()[0]) / 1024
print(json.dumps({"rows": found.rows.total, "cpu": cpu, "wall": wall, "peak": peak}))
"""


def rows(seed: int) -> Iterator[bytes]:
    """Different rows without end."""
    numbers = random.Random(seed)  # noqa: S311
    english = ["".join(numbers.choices(ascii_lowercase, k=numbers.randint(2, 9))) for _ in range(3000)]
    letters = [chr(code) for code in range(0x4E00, 0x9FA5)]
    chinese = ["".join(numbers.choices(letters, k=numbers.randint(1, 4))) for _ in range(3000)]
    while True:
        kind = numbers.random()
        words = chinese if 0.5 <= kind < 0.75 else english
        gap = "" if words is chinese else '\n"' if kind >= 0.75 and numbers.random() < 0.3 else " "
        size, turns = numbers.randint(900, 3600), []
        while size > 0:
            question = gap.join(numbers.choices(words, k=numbers.randint(5, 30)))
            answer = gap.join(numbers.choices(words, k=numbers.randint(30, 150)))
            turns += [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
            size -= len(question.encode()) + len(answer.encode())
        yield json.dumps({"conversations": turns}, ensure_ascii=False).encode()


def generate(path: Path, size: int) -> int:
    """A file of that size; how many rows it has. Blocks of rows are repeated with a number in each row, for speed."""
    made = rows(1)
    block = [next(made)[:-1] for _ in range(BLOCK_ROWS)]
    count = 0
    with path.open("wb") as file:
        while file.tell() < size:
            file.write(b"".join(b'%s, "id": %d}\n' % (row, count + number) for number, row in enumerate(block)))
            count += len(block)
    return count


def checked(size: int, directory: str | None) -> None:
    """Make a file of that size, check it, print the figures."""
    with tempfile.TemporaryDirectory(dir=directory) as where:
        path = Path(where) / "chats.jsonl"
        start = time.perf_counter()
        count = generate(path, size)
        size = path.stat().st_size
        made = time.perf_counter() - start
        print(f"{size / 1e9:.2f} GB, {count} rows of {size / count:.0f} bytes, made in {made:.0f} s", flush=True)
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", CHECK, path], env=environ, stdout=subprocess.PIPE, check=True)
        found = json.loads(done.stdout)
    assert found["rows"] == count
    speed = {name: size / 1e6 / found[name] for name in ("wall", "cpu")}
    print(
        f"checked with {speed['wall']:.0f} MB/s ({speed['cpu']:.0f} MB per second of one core), {found['wall']:.1f} s, "
        f"peak RSS {found['peak']:.0f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, nargs="+", default=[1.0, 10.0], help="sizes of the files")
    parser.add_argument("--directory", default=None, help="where the files are put, one at a time")
    args = parser.parse_args()
    for gib in args.gib:
        checked(int(gib * 2**30), args.directory)


if __name__ == "__main__":
    main()
