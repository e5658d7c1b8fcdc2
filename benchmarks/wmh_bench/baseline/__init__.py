"""PyTorch's ways to execute slices of eight views, and the runtime's beside them."""
