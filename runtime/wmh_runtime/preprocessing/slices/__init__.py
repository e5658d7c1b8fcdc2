"""Slices of a scan: planes, neighbors, slabs, and pixels in place of voxels."""
