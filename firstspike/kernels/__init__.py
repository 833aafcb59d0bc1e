"""Compiled kernels: pure functions over numpy arrays, no objects, no files, no torch."""
