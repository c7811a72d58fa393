"""What a training on the memory tasks is made of."""
