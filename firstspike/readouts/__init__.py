"""Event-driven first-spike readouts trained by supervised STDP."""
