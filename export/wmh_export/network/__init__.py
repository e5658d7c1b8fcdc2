"""Changes to the trained network before tracing: merge, rewrite, half precision."""
