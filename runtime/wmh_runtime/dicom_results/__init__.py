"""Write results as DICOM: segmentation, structured report, picture; see docs/dicom.md."""
