"""The site is built without a warning, loads nothing from other hosts, and has all public names."""

import re
import subprocess
import sys

import pytest

import wmh_runtime
from tests.conftest import REPOSITORY

pytest.importorskip("sphinx", reason='the extra "docs" is not installed')

# What a browser loads by itself; links that a reader may click are not in it.
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|input)\b[^>]*\bsrc\s*=\s*["']?(?:https?:)?//"""
    r"""|<link\b(?![^>]*\brel\s*=\s*["']?(?:canonical|author|license))[^>]*\bhref\s*=\s*["']?(?:https?:)?//"""
    r"""|url\(\s*["']?(?:https?:)?//|@import\s+["'](?:https?:)?//"""
    r"""|\b(?:fetch|importScripts|import)\(\s*["'`]https?://""",
    re.I,
)


def build(source, settings, out):
    options = ["--quiet", "--fail-on-warning", "--keep-going"]
    command = [sys.executable, "-m", "sphinx", *options, "-c", settings, source, out]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    done = build(REPOSITORY, REPOSITORY / "docs", out)
    assert (done.returncode, done.stderr) == (0, "")
    return out


def test_the_first_page_leads_to_the_contents(site):
    target = re.search(r"url=([^\"]+)", (site / "index.html").read_text(encoding="utf-8"))[1]
    contents = (site / target).read_text(encoding="utf-8")
    for page in ("tutorial", "how-to/hpc", "api/errors"):
        assert f'href="{page}.html"' in contents


def test_no_page_loads_anything_from_another_host(site):
    loading = [
        path.relative_to(site)
        for path in site.rglob("*")
        if path.suffix in (".html", ".css", ".js") and LOADED.search(path.read_text("utf-8"))
    ]
    assert len(list(site.rglob("*.html"))) > 30
    assert loading == []


@pytest.mark.parametrize(
    ("text", "is_loaded"),
    [
        ('<script src="https://cdn.example.org/a.js"></script>', True),
        ('<link rel="stylesheet" href="//fonts.example.org/a.css">', True),
        ("@font-face { src: url('https://fonts.example.org/a.woff2') }", True),
        ('@import "https://example.org/a.css"', True),
        ('<a href="https://doi.org/10.1">a link</a>', False),
        ('<script src="../_static/a.js"></script>', False),
    ],
)
def test_what_counts_as_loaded(text, is_loaded):
    assert bool(LOADED.search(text)) is is_loaded


def test_every_public_name_has_an_entry_with_a_text(site):
    pages = "".join(path.read_text("utf-8") for path in (site / "docs" / "api").glob("*.html"))
    for name in wmh_runtime.__all__:
        entry = re.search(
            rf'<dt[^>]* id="wmh_runtime\.(?:errors\.)?{name}">.*?<dd>(.*?)</dd>', pages, re.S
        )
        assert entry, name
        assert "<p>" in entry[1], name


def test_the_search_needs_no_server(site):
    """The index is a script that the page loads, not a file that it would have to fetch."""
    assert "Search.setIndex(" in (site / "searchindex.js").read_text(encoding="utf-8")[:100]
    assert "searchindex.js" in (site / "search.html").read_text(encoding="utf-8")


def test_a_link_that_leads_nowhere_fails(tmp_path):
    (tmp_path / "conf.py").write_text('extensions = ["myst_parser"]\nmyst_heading_anchors = 4\n')
    (tmp_path / "index.md").write_text("# A page\n\n[a link](#no-such-heading)\n")
    done = build(tmp_path, tmp_path, tmp_path / "out")
    assert done.returncode != 0
    assert "no-such-heading" in done.stderr
