"""Part of the stub."""


class StructuredOutputsParams:
    """Nothing is structured."""
