"""Read images, NIfTI or MGH, with what is wrong with them; write NIfTI on the grid of the input."""
