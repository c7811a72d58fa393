"""Figure 4 of the paper: claims, drawing, published points and page."""
