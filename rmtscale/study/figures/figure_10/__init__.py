"""Figure 10 of the paper: claims, drawing and page."""
