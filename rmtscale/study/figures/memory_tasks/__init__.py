"""Parts that the figures of the memory tasks share."""
