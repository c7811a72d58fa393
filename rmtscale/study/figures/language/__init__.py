"""What the figures of language modelling share."""
