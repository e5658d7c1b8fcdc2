"""Messages below the command line name fields; only `cli/` knows options."""

import ast
import re
from pathlib import Path

import pytest

import wmh_runtime
from wmh_runtime.cli import console
from wmh_runtime.errors import InputError

PACKAGE = Path(wmh_runtime.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z]")


def strings_of(path):
    """All strings of a module but its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in docstrings:
            yield node.value


def test_only_the_command_line_knows_options():
    found = [
        f"{path.relative_to(PACKAGE)}: {text}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if "cli" not in path.relative_to(PACKAGE).parts
        for text in strings_of(path)
        if OPTION.search(text)
    ]
    assert found == []


def test_an_option_outside_the_command_line_is_found(tmp_path):
    path = tmp_path / "module.py"
    path.write_text('"""Not --this."""\nadvice = f"Give --that, {1}."\n', encoding="utf-8")
    assert [text for text in strings_of(path) if OPTION.search(text)] == ["Give --that, "]


def test_the_command_line_shows_the_option_of_a_field(capsys):
    def fail():
        raise InputError("is 3, expected at most 1", "Give 0.5 for 50 %.", about="threshold")

    with pytest.raises(SystemExit):
        console.run(fail)
    assert capsys.readouterr().err == (
        "error: --threshold: is 3, expected at most 1. Give 0.5 for 50 %.\n"
    )
