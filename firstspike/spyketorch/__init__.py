"""Drop-in replacement for SpykeTorch."""
