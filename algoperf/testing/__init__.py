"""Test support: a NumPy backend and a manual clock in place of a framework and real time, the toy workload, the
conformance suite that every workload must pass."""

from algoperf.registry import Registry
from algoperf.testing.fake_backend import FakeBackend, FakeWorkload
from algoperf.testing.fake_clock import FakeClock

__all__ = ["FakeBackend", "FakeClock", "FakeWorkload", "toy_registry"]


def toy_registry() -> Registry:
    """A registry that holds `toy` and `toy_mini` alone."""
    return Registry(("algoperf.testing.toy_workload",))
