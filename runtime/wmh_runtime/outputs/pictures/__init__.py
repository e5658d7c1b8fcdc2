"""Pictures of a scan: the quality-control image, and slices in layers for the report."""
