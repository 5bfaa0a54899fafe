"""Part of the stub."""

from dataclasses import dataclass


@dataclass
class LoRARequest:
    """An adapter for one request."""

    lora_name: str
    lora_int_id: int
    lora_path: str
