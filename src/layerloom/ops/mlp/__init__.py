"""A small multilayer perceptron."""
