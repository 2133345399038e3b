"""Render the page's icons for devices that show no SVG, from streamad/web/static/icon.svg, with the installed Chromium.

    python scripts/page_icons.py

Icons that the device cuts into a shape of its own (iOS, maskable) fill the square; the drawing stays within the circle
that no shape cuts.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

STATIC = Path(__file__).parents[1] / "streamad" / "web" / "static"
BACKGROUND = "#10161d"  # that of the drawing
ICONS = {
    "icon-192.png": (192, "transparent"),
    "icon-512.png": (512, "transparent"),
    "icon-maskable-512.png": (512, BACKGROUND),
    "apple-touch-icon.png": (180, BACKGROUND),
}


def main() -> None:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("needs Chromium (Debian: apt-get install chromium)")
    drawing = (STATIC / "icon.svg").read_text()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, (size, background) in ICONS.items():
            page = browser.new_page(viewport={"width": size, "height": size})
            page.set_content(
                f"<style>body {{ margin: 0; background: {background} }} svg {{ display: block }}</style>{drawing}"
            )
            pixels = page.screenshot(omit_background=True)
            Image.open(io.BytesIO(pixels)).save(STATIC / name, optimize=True)
            print(f"{name}: {(STATIC / name).stat().st_size:,} bytes")
        browser.close()


if __name__ == "__main__":
    main()
