"""Links between the documents of this repository lead somewhere."""

import re

import pytest

from tests.conftest import REPOSITORY

FOLDERS = (".", "docs", "docs/how-to", "benchmarks")
DOCUMENTS = sorted(path for folder in FOLDERS for path in (REPOSITORY / folder).glob("*.md"))
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchors(document):
    """What GitHub makes of the headings."""
    found = set()
    for heading in HEADING.findall(document.read_text(encoding="utf-8")):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-"))
    return found


def test_there_are_documents():
    assert {path.name for path in DOCUMENTS} >= {"README.md", "few-masks.md", "CHANGELOG.md"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_relative_links_and_their_anchors_exist(document):
    broken = []
    for link in LINK.findall(document.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (document.parent / file) if file else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []
