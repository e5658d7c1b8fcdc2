"""GPUs, through cuda-python or PyCUDA."""
