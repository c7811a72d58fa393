"""Does it remember: facts hidden in unrelated text, asked for at the end; numpy only, no torch."""
