"""The anatomy of a phantom head."""
