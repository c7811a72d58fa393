"""Training on text."""
