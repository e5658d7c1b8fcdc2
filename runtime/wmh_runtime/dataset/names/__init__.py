"""What the names of files and folders say: contrast, processed versions, pairs of images."""
