"""The trained network, made ready for export."""
