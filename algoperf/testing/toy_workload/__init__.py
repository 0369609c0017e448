"""Linear regression on a few hundred rows: the smallest complete workload, for tests of the harness."""
