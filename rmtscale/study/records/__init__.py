"""Evaluated checkpoints as versioned JSON lines; the standard library only."""
