"""Training on the memory tasks."""
