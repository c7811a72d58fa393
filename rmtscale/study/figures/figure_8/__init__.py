"""Figure 8 of the paper: claims, drawing and page."""
