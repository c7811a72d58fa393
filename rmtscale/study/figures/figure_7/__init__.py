"""Figure 7 of the paper: claims, drawing and page."""
