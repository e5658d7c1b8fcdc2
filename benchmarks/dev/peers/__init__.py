"""Networks of the shapes that other programs publish, timed beside this one on the same scan."""
