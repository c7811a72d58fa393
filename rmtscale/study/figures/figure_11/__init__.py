"""Figure 11 of the paper: claims, drawing and page."""
