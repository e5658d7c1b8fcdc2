"""Compare the speed of the reference method, other PyTorch variants, and the runtime."""
