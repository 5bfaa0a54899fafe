"""Whether a chat file is one that ms-swift can train on, row by row: a library of the standard library alone."""
