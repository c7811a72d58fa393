"""One row for each ``model_type``: what its config says, declaratively. No code of a model."""
