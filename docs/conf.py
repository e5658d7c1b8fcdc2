"""How Sphinx builds the site: `make docs`. The pages are the Markdown files of the repository.

The source folder is the repository, so that links between files are the same on GitHub and here.
"""

from __future__ import annotations

from importlib.metadata import version as version_of

project = "wmh-lora"
author = "the wmh-lora authors"
release = version = version_of("wmh-lora")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    "examples/README.md",
    "runtime/wmh_runtime/bundles/*/MODEL_CARD.md",
]
exclude_patterns = ["docs/_templates", "docs/base.md"]  # base.md is part of the model card
templates_path = ["_templates"]

# Markdown as on GitHub: headings are targets of links, `http:` is the only scheme that leads out.
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # some pages begin with a heading of the second level

# The docstrings say what shapes and units values have; signatures say their types.
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True

default_role = "code"  # `name` in docstrings is code, as in Markdown

highlight_language = "none"  # unless a block names its language

html_theme = "pydata_sphinx_theme"
html_title = f"wmh-lora {release}"
html_theme_options = {
    "show_prev_next": False,
    "navbar_center": [],  # the sidebar has all pages
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["research-use"],
    "footer_end": [],
}
html_sidebars = {"**": ["all-pages"]}
html_show_sourcelink = False
html_copy_source = False
html_additional_pages = {"index": "to-first-page.html"}
