"""Training of an RMT on the three memory tasks: curriculum, burn-in, resumable loop."""
