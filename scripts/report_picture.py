"""Take a picture of a report in headless Chromium: how the README's picture was made.

python scripts/report_picture.py REPORT.html PICTURE.png [--width 1280] [--height 1240]
"""

import argparse
from pathlib import Path

from playwright.sync_api import sync_playwright


def main() -> None:
    """Open the report, wait until its charts stand, and keep its upper part."""
    parser = argparse.ArgumentParser()
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1240)
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": arguments.width, "height": arguments.height})
        page.goto(arguments.report.resolve().as_uri())
        page.wait_for_selector("body[data-ready]")
        page.screenshot(path=arguments.picture)
        browser.close()


if __name__ == "__main__":
    main()
