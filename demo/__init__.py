"""``make demo``: from nothing to a fine-tuned model on a real cluster."""
