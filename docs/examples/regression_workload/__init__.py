"""Regression on generated data, as a package of its own: an example of a workload of a third party."""
