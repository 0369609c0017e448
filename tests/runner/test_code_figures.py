"""Figures of the product's code stay under their limits; `benchmarks/code_figures.py` prints them."""

import functools
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAX_P95_FUNCTION_LINES = 30
MAX_REPEATED_SHARE = 0.03
MAX_FILES_WITH_FRAMEWORK_NAMES = 5


@functools.cache
def figures() -> dict:
    return runpy.run_path(str(ROOT / "benchmarks" / "code_figures.py"))


@functools.cache
def sources() -> dict[str, dict[str, str]]:
    return figures()["product_sources"]()


def everything() -> dict[str, str]:
    return {name: text for files in sources().values() for name, text in files.items()}


def module(*names: str, docstring: str = "A module.") -> str:
    return f'"""{docstring}"""\nimport os\n' + "".join(f"{name} = make({name!r})  # a comment\n" for name in names)


def test_a_run_of_six_lines_in_two_files_is_repeated_and_one_of_five_is_not():
    six, five = [f"name_{i}" for i in range(6)], [f"name_{i}" for i in range(5)]
    share = figures()["repeated_share"]
    assert share({"a.py": module(*six, "end_a"), "b.py": module("start_b", *six)}) == 12 / 14
    assert share({"a.py": module(*five, "end_a"), "b.py": module("start_b", *five)}) == 0


def test_docstrings_imports_and_comments_are_no_repeated_lines():
    text = '"""One.\n\nTwo.\nThree.\nFour.\nFive.\nSix.\n"""\n' + "".join(f"import m{i}\n# c{i}\n" for i in range(9))
    assert figures()["repeated_share"]({"a.py": text + "alpha = 1\n", "b.py": text + "beta = 2\n"}) == 0


def test_blocks_names_the_longest_run_and_where_it_starts():
    eight = [f"name_{i}" for i in range(8)]
    (block,) = figures()["blocks"]({"a.py": module(*eight), "b.py": module("start_b", *eight)})
    assert len(block.lines) == 8
    assert block.positions == (("a.py", 3), ("b.py", 4))


def test_95_percent_of_the_functions_are_short():
    lengths = [
        n for files in sources().values() for text in files.values() for n in figures()["function_lengths"](text)
    ]
    assert len(lengths) > 1000
    assert figures()["percentile"](lengths, 0.95) <= MAX_P95_FUNCTION_LINES


def test_few_lines_stand_in_two_files():
    share = figures()["repeated_share"](everything())
    assert share <= MAX_REPEATED_SHARE, "see the blocks: python benchmarks/code_figures.py --blocks=20"


def test_frameworks_are_named_in_few_files():
    files = figures()["files_with_framework_names"](everything())
    assert len(files) <= MAX_FILES_WITH_FRAMEWORK_NAMES, files


def test_a_framework_name_counts_as_a_whole_string_alone():
    named = figures()["files_with_framework_names"]
    sources_ = {"a.py": "x = 'jax'\n", "b.py": "x = 'jax_model'\n", "benchmarks/c.py": "x = 'jax'\n"}
    assert named(sources_) == ["a.py"]
