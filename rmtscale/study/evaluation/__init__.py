"""Does it remember: accuracy by length, attention maps, and where retention breaks."""
