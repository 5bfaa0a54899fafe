"""How many ends of trainings are told apart, and how long that takes: ``python -m tests.bench.ends_of_runs``.

The ends are those of the tests: texts of ms-swift and its libraries, and each place of their code with a message that
says nothing. A log is as long as the part of it that the runner keeps.
"""

from __future__ import annotations

import time

from swiftop.runner.classify import classify_failure
from swiftop.runner.output import HEAD_BYTES, TAIL_BYTES
from tests.support.ends import FAILED, logs, share_of_unknown

LINE = "[INFO:swift] something of no interest that is as long as most lines are\n"


def main() -> None:
    """Print the figures."""
    every = logs()
    print(f"{len(every)} ends, {share_of_unknown():.1%} of them Unknown")
    filler = LINE * ((HEAD_BYTES + TAIL_BYTES) // len(LINE))
    start = time.process_time()
    for log in every:
        classify_failure(FAILED, filler + log)
    print(f"{(time.process_time() - start) / len(every) * 1000:.0f} ms of CPU each")


if __name__ == "__main__":
    main()
