"""BABILong: our RMTs beside the published table, drawing, claims and page."""
