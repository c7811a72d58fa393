"""Figure 9 of the paper: claims, drawing and page."""
