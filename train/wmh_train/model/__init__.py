"""The network: SAM's encoder on its base, adapters, decoder, and the eight views of it."""
