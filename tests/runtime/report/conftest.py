"""A browser for the tests of pages; they are skipped where there is none."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Software rendering, so that WebGL works without a GPU.
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@pytest.fixture(scope="session")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"needs a browser: {', '.join(BROWSERS)}")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser):
    """A function that opens a file. At the end: no error, no dialog, no request to a network."""

    @contextmanager
    def open_(path, script="", **options):
        context = browser.new_context(**options)
        context.add_init_script(script)
        page, problems = context.new_page(), []
        page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
        page.on(
            "request",
            lambda one: (
                None
                if one.url.split(":")[0] in ("file", "data", "blob")
                else problems.append(one.url)
            ),
        )
        page.goto(path.as_uri())
        try:
            yield page
            assert problems == []
        finally:
            context.close()

    return open_
