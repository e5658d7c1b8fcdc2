"""Run a WMH segmentation bundle on FLAIR scans: read, prepare, execute, restore, measure, write."""
