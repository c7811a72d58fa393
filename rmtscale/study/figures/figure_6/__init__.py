"""Figure 6 of the paper: claims, drawing and page."""
