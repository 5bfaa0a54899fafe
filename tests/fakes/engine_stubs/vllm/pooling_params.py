"""Part of the stub."""


class PoolingParams:
    """Nothing is pooled."""
