"""Read DICOM series as scans; see docs/dicom.md."""
