"""The suite that every workload must pass, found by discovery over the registry.

Run it on everything installed, a third party's workloads included, with

    python -m pytest --pyargs algoperf.testing.conformance            # add -k NAME for one workload

A case is one check of one workload in one framework, of both frameworks against each other, or of a mini's data.
"""

from algoperf.testing.conformance.cases import Case, conformance_cases

__all__ = ["Case", "conformance_cases"]
