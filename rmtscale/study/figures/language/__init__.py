"""Parts that the figures of language modelling share."""
