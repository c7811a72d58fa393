"""Training of an RMT on the three memory tasks: curriculum, roll-in, resumable loop."""
