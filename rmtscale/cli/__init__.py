"""The command line: one file per command, each with its own help."""
