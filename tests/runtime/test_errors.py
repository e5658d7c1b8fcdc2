"""The tree of errors is drawn completely, and the page on Python names every error."""

import re

import wmh_runtime
from tests.conftest import REPOSITORY
from wmh_runtime import errors


def family(root):
    """The class and all that derive from it, with their depth."""
    yield root, 0
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from ((kind, depth + 1) for kind, depth in family(child))


def test_the_drawn_tree_has_every_error_at_its_depth():
    drawn = re.findall(r"^ {4}([ │├└─]*)(\w+Error)\b", errors.__doc__, re.M)
    assert [(name, len(lead) // 4) for lead, name in drawn] == [
        (kind.__name__, depth) for kind, depth in family(errors.WmhError)
    ]


def test_the_page_on_python_names_every_error():
    page = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
    names = {kind.__name__ for kind, _ in family(errors.WmhError)}
    assert {name for name in names if f"`{name}`" not in page} == set()
    not_of_the_runtime = {"RecipeError", "ExportError"}
    assert names - not_of_the_runtime <= set(wmh_runtime.__all__)
