"""What is written for each scan and for each folder."""
