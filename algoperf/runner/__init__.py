"""Who runs what, in which order: the driver, one trial, suites."""
