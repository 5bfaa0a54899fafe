"""Whether a chat file is one that ms-swift can train on, row by row.

It belongs to no program: an upload checks its file by it, and a training may check its datasets before anything is
loaded. A program runs it as the task ``rows.task``, which hears signals and may count tokens; ``check.check`` is the
same as a function, of the standard library alone, and reads a file once in flat memory.
"""
