"""What the figures of the memory tasks share."""
