"""ONNX graphs of the network: tracing, eight views, files."""
