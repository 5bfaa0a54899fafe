"""Which rows were there before, in bounded memory.

A table of 64-bit hashes with open addressing, 8 bytes a slot, that grows up to ``SLOTS`` (64 MiB). Two different rows
are taken for the same with a probability of about n²/2⁶⁵: one in a million for six million rows. Of more than
``CAPACITY`` different rows the first ones alone are remembered, so that repetitions of later ones are not counted:
the number is then too small, never too large.
"""

from __future__ import annotations

from array import array

SLOTS = 1 << 23
CAPACITY = SLOTS * 3 // 4
_FIRST = 1 << 14
_MASK = (1 << 64) - 1


class Seen:
    """Hashes of the rows so far."""

    def __init__(self, *, slots: int = SLOTS) -> None:
        self._most = slots
        self._table = array("Q", (0,)) * min(_FIRST, slots)
        self._room = len(self._table) * 3 // 4

    def add(self, key: int) -> bool:
        """Whether the row with this hash was there before; it is from now on."""
        key = (key & _MASK) or 1  # 0 marks an empty slot
        table = self._table
        last = len(table) - 1
        at = key & last
        while (found := table[at]) != 0:
            if found == key:
                return True
            at = (at + 1) & last
        if self._room > 0:
            table[at] = key
            self._room -= 1
            if self._room == 0 and len(table) < self._most:
                self._grow()
        return False

    def _grow(self) -> None:
        before = self._table
        table = self._table = array("Q", (0,)) * (len(before) * 2)
        last, kept = len(table) - 1, 0
        for key in before:
            if key:
                at = key & last
                while table[at]:
                    at = (at + 1) & last
                table[at] = key
                kept += 1
        self._room = len(table) * 3 // 4 - kept
