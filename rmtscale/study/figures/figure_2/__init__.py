"""Figure 2 of the paper: claims, drawing and published points."""
