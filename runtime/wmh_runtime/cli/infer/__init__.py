"""`wmh-infer`: segment a folder of scans, and look after a folder of results."""
