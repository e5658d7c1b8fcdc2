"""The network: pretrained SAM encoder, adapters, decoder, and averaging over eight views."""
