"""Compilation where nothing can be kept on disk."""

import numba

from workloads.common import compiled as compilation


def test_without_a_folder_for_its_cache_a_function_is_compiled_all_the_same(monkeypatch):
    asked = []

    def njit(**options):
        asked.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return numba.njit(**options)

    monkeypatch.setattr(compilation, "njit", njit)

    @compilation.compiled
    def double(number):
        return 2 * number

    assert double(21) == 42
    assert [options.get("cache", False) for options in asked] == [True, False]
