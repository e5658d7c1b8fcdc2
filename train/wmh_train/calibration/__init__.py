"""Choose thresholds and minimum lesion sizes on the validation scans."""
