"""Files and folders: atomic writes, tables, hashes, the user cache."""
