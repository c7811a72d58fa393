"""Many GPUs, in any layout: bytes on each, collectives between them, seconds of a step."""
