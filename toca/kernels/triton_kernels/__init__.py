"""Triton kernels of hot operations, by the names of their plain forms; `choice.py` says when one runs."""
