"""Compare several models that were evaluated on the same scans."""
