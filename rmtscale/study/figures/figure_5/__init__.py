"""Figure 5 of the paper: claims, drawing, published points and page."""
