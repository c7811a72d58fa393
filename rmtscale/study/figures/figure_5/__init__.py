"""Figure 5 of the paper: claims, drawing and published points."""
