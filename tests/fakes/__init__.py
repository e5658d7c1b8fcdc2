"""Fakes of the libraries that need a GPU. They use host memory and the calls used here only."""
