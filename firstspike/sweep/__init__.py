"""Experiments over many runs: spaces of options, searches, records that outlive a kill, tables and plots."""
