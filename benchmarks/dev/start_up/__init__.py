"""How long a run takes until it segments, and how much memory it needs."""
