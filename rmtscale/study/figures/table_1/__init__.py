"""Table 1 of the paper: claims and table."""
