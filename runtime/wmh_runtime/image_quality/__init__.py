"""Quality of a scan, measured from its intensities."""
