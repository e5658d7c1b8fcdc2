"""Choose thresholds and minimum lesion sizes on validation scans."""
