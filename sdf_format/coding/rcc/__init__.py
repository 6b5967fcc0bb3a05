"""Reverse channel coders (§6.3, §6.4): tree, trellis and pfr, on the CPU and by CUDA kernels."""
