"""How a chat becomes tokens: ms-swift's template against the chat template in a model's folder.

It belongs to no program: an export tells of its result whether they are the same, and what serves may leave the prompt
to an engine only where they are.
"""
