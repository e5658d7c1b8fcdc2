"""Make the pictures of the report in README.md and docs/: light and dark, the table and one scan.

    python docs/pictures/make_report_pictures.py RESULTS SCAN

RESULTS is an output folder of wmh-infer whose scans may be published; SCAN is the participant to
open. It needs the packages of `.[dev]` and Chromium.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
WIDTH_PX, HEIGHT_PX = 1180, 900
SCHEMES = {"light": "", "dark": "-dark"}


def main(results: Path, scan: str) -> None:
    """Take the pictures of a report."""
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path)
        for scheme, ending in SCHEMES.items():
            page = browser.new_page(
                viewport={"width": WIDTH_PX, "height": HEIGHT_PX},
                color_scheme=scheme,
                reduced_motion="reduce",  # no picture of a page that is still fading in
            )
            page.goto((results / "report.html").resolve().as_uri())
            save(page, f"report{ending}.webp")
            page.click(f"#table .who a:has-text('{scan}')")
            page.wait_for_selector("#detail .slices img")
            save(page, f"report-scan{ending}.webp")
        browser.close()


def save(page: Page, name: str) -> None:
    """Save what is on the screen."""
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(HERE / name, quality=88)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
