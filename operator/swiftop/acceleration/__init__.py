"""Faster LoRA training inside ms-swift's process, on NVIDIA GPUs.

It needs torch, transformers and peft, and for the fused layers Triton: the operator imports ``memory`` alone. Imports
within are relative, because the runner writes the package out under another name.
"""
