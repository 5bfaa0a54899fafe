"""How many rows ms-swift read, and how many of them it dropped: read from its log as it grows. Pure.

It drops a row that its template cannot encode, or that is longer than its limit, and goes on. What it says of that is a
line for each step that dropped some, ``Dataset filtered, origin length: 40, filtered dataset length: 10``, the
exceptions of the first ten rows (4.x tells none of rows that are too long), and what is left of the data that is
trained on and of that for validation: 4.x and 3.12 say so after the rows are encoded, 3.7 before. With streaming or
lazy tokenization it never says how many.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Optional

LONGEST_LINE = 4096
WHY_CHARACTERS = 200
MOST_STEPS = 200  # a step is a file of the dataset, or encoding it
_TOLD_ROWS = 10  # whose exception ms-swift logs, of each step and process

_FILTERED = re.compile(r"Dataset filtered, origin length: (\d{1,12}), filtered dataset length: (\d{1,12})")
_DATASET = re.compile(r"\b(train|val)_dataset: (None|Dataset\()")
_ROWS = re.compile(r"^\s*num_rows: (\d{1,12})\s*$")
_TOO_LONG = re.compile(r"MaxLengthError: ")
_DELETED = "There are errors in the dataset, the data will be deleted"
_KEPT_WHOLE = re.compile(r"^\s*truncation_strategy='?(delete|raise)\b")
_CUT = re.compile(r"^\s*truncation_strategy='?(left|right|split)\b")


@dataclass(frozen=True)
class Count:
    """Rows of one kind. ``too_long`` is how many of the dropped were longer than the limit, None when nobody knows."""

    rows: int
    dropped: int = 0
    too_long: Optional[int] = None


@dataclass
class _Filtered:
    before: int
    after: int
    told: int  # rows whose exception was logged
    too_long: int  # of these

    @property
    def dropped(self) -> int:
        return max(self.before - self.after, 0)

    @property
    def known_too_long(self) -> Optional[int]:
        """4.x is silent about rows that are too long, 3.x tells them like others; both stop telling after ten."""
        others = self.told - self.too_long
        if self.told < _TOLD_ROWS or others == 0:
            return max(self.dropped - others, 0)
        return None


@dataclass
class DroppedRows:
    """Follows one log."""

    truncates: Optional[bool] = None  # whether rows that are too long are cut instead of dropped
    why: str = ""  # the first exception of a row that is not only too long
    _steps: list[_Filtered] = field(default_factory=list)
    _left: dict[str, Optional[int]] = field(default_factory=dict)  # rows by "train" and "val", as ms-swift said
    _after: dict[str, int] = field(default_factory=dict)  # how many steps had been told by then
    _naming: str = ""  # whose num_rows comes next
    _told: int = 0
    _too_long: int = 0
    _part: str = ""
    _before: str = ""

    def feed(self, text: str) -> None:
        """More of the log."""
        *lines, self._part = (self._part + text).replace("\r", "\n").split("\n")
        self._part = self._part[:LONGEST_LINE]
        for line in lines:
            self.line(line[:LONGEST_LINE])

    def line(self, line: str) -> None:
        """One line of the log."""
        if "origin length" in line:
            self._filtered(line)
        elif "_dataset: " in line:
            self._named(line)
        elif "num_rows" in line and self._naming:
            found = _ROWS.match(line)
            if found:
                self._left[self._naming], self._naming = int(found.group(1)), ""
        elif _DELETED in line:
            self._told += 1
            self.why = self.why or ("" if "MaxLengthError" in self._before else self._before[:WHY_CHARACTERS])
        elif "MaxLengthError" in line and _TOO_LONG.search(line):
            self._too_long += 1
        elif "truncation_strategy" in line:
            self.truncates = False if _KEPT_WHOLE.match(line) else True if _CUT.match(line) else self.truncates
        self._before = line.strip() or self._before

    def _filtered(self, line: str) -> None:
        found = _FILTERED.search(line)
        if found and len(self._steps) < MOST_STEPS:
            step = _Filtered(int(found.group(1)), int(found.group(2)), self._told, min(self._too_long, self._told))
            self._steps.append(step)
            self._told = self._too_long = 0

    def _named(self, line: str) -> None:
        found = _DATASET.search(line)
        if found:
            name = found.group(1)
            self._naming = name if found.group(2) != "None" else ""
            self._left[name], self._after[name] = None, len(self._steps)

    def _encoding(self) -> tuple[Optional[_Filtered], Optional[_Filtered]]:
        """The steps that encoded what is trained on and what validates; None of one that dropped nothing."""
        train, val = self._left.get("train"), self._left.get("val")
        late = self._steps[max(self._after.values(), default=0) :]
        if self._after and late:  # 3.7: what it had named is what these steps began with
            trained = next((step for step in late if step.before == train), None)
            return trained, next((step for step in reversed(late) if step.before == val and step is not trained), None)
        if "train" not in self._left:  # it ended before: of what it was doing last
            return (self._steps[-1] if self._steps and self._steps[-1].after == 0 else None), None
        steps = self._steps[-2:]
        trained = next((step for step in steps if step.after == (train or 0)), None)
        behind = steps[steps.index(trained) + 1 :] if trained else steps[-1:]
        return trained, next((step for step in behind if step.after == (val or 0)), None)

    @property
    def train(self) -> Optional[Count]:
        """What is trained on; None as long as nothing is known, and with streaming for ever."""
        trained, validates = self._encoding()
        others = [step for step in self._steps if step is not trained and step is not validates]
        left = trained.after if trained else self._left.get("train")
        if left is None and "train" not in self._left:
            return None
        steps = [*others, *([trained] if trained else [])]
        return _count(left or 0, steps)

    @property
    def validation(self) -> Optional[Count]:
        """What validates; None as long as nothing is known, or when there is none."""
        _, validates = self._encoding()
        left = validates.after if validates else self._left.get("val")
        return None if left is None else _count(left, [validates] if validates else [])


def _count(left: int, steps: list[_Filtered]) -> Count:
    dropped = sum(step.dropped for step in steps)
    known = [step.known_too_long for step in steps]
    too_long = None if any(one is None for one in known) else sum(one for one in known if one is not None)
    return Count(left + dropped, dropped, too_long)


def words(count: Count) -> str:
    """Of the dropped rows, for a message."""
    of = "all" if count.dropped == count.rows else f"{count.dropped} of"
    text = f"{of} {count.rows} rows were dropped"
    if count.too_long:
        text += f", {count.too_long} longer than training.maxLength"
    elif count.too_long is None:
        text += ", some may be longer than training.maxLength"
    others = count.dropped - (count.too_long or 0)
    if count.too_long is not None and others:
        text += f", {others} that the chat template cannot encode"
    return text


def read(log: str) -> DroppedRows:
    """What a whole log says."""
    found = DroppedRows()
    found.feed(log + "\n")
    return found
