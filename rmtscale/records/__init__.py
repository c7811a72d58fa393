"""Measured points as versioned JSON lines; the standard library only."""
