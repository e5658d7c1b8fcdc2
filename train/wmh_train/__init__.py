"""Train a LoRA-adapted SAM-type network for WMH segmentation."""
