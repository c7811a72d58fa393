"""Figure 2 of the paper: claims, drawing, published points and page."""
