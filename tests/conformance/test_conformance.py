"""Every registered workload passes the conformance suite."""

from algoperf.testing.conformance.test_workloads import *  # noqa: F403
