"""Take the README's screenshot of a board, docs/figures/board.png: python docs/picture.py.

It shows the top of the page of ``synthetic-v1`` in Chromium (Debian:
``apt-get install chromium``; ``pip install playwright``).
"""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from pairbench.site import build_site

ROOT = Path(__file__).resolve().parent.parent
BOARD = "synthetic-v1"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def main() -> int:
    """Build the pages, and take the screenshot."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.stderr.write("no chromium on the PATH: apt-get install chromium.\n")
        return 1
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        build_site(Path(folder) / "site", ROOT / "leaderboards")
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1240, "height": 1000}, device_scale_factor=1.5)
        page.goto((Path(folder) / "site" / "boards" / f"{BOARD}.html").as_uri())
        page.locator("[data-chart] svg").first.wait_for(state="attached")
        page.screenshot(path=ROOT / "docs" / "figures" / "board.png")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
