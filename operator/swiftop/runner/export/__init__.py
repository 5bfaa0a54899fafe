"""Make a model that can be served of what a training left behind."""
