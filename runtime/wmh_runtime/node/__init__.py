"""A DICOM service: receives studies, segments them, and sends the results; see docs/dicom.md."""
