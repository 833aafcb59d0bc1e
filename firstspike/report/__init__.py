"""Metrics, plots, TensorBoard pages and activation maps of a run."""
