"""Figure 12 of the paper: claims, drawing and page."""
