"""Files and folders: atomic writes, temporary files, tables, hashes, the user cache."""
