"""INT8 quantization for CPUs."""
