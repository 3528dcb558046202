"""The few hot tensor operations, in plain torch, and some of them as Triton kernels too."""
