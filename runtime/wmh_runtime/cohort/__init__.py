"""Segment a whole folder of scans."""
