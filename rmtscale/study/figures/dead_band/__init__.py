"""A dead band on the memory at inference: claims, drawing and page."""
