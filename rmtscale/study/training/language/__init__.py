"""What a training on text is made of."""
