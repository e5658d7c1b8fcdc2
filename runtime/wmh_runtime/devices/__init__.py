"""GPUs, by whatever library drives them."""
