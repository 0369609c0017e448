"""Time-to-result benchmark of neural network training algorithms."""

__version__ = "0.1.0"
