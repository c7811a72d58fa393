"""Figure 4 of the paper: claims, drawing and published points."""
