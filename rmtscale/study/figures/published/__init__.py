"""Published step times and memory of training on many GPUs, beside what is predicted."""
