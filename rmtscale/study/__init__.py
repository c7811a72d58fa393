"""The paper and beyond: tasks, training, evaluation and the figures made of them."""
