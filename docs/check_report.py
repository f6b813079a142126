"""Open reports in a headless browser at desktop and phone width and look for faults.

Run ``python docs/check_report.py AXE REPORT...`` with ``AXE`` the file ``axe.min.js`` of the npm
package axe-core (``npm pack axe-core``). It needs Chromium and the package playwright. Says what
the console reported, whether the page is wider than the screen, and what axe-core finds; leaves
``REPORT-desktop.png`` and ``REPORT-phone.png``, the first screens, beside each report. The exit
code is 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
SETTLED_MS = 2500


def faults(browser, report: Path, axe: Path, name: str) -> list[str]:
    width, height = WIDTHS[name]
    context = browser.new_context(
        viewport={"width": width, "height": height}, bypass_csp=True, offline=True
    )
    page, found = context.new_page(), []
    page.on("pageerror", lambda error: found.append(f"error: {error}"))
    page.on(
        "console",
        lambda message: (
            found.append(f"console: {message.text}") if message.type == "error" else None
        ),
    )
    page.goto(report.resolve().as_uri())
    page.wait_for_timeout(SETTLED_MS)
    page.screenshot(path=str(report.with_name(f"{report.stem}-{name}.png")))
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        found.append("wider than the screen")
    page.add_script_tag(path=str(axe))
    for fault in page.evaluate("axe.run()")["violations"]:
        places = [node["html"][:80] for node in fault["nodes"][:3]]
        found.append(f"axe: {fault['id']} ({fault['impact']}) at {places}")
    context.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("axe", type=Path)
    parser.add_argument("reports", type=Path, nargs="+")
    options = parser.parse_args()
    bad = 0
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for report in options.reports:
            size_mb = report.stat().st_size / 1e6
            for name in WIDTHS:
                found = faults(browser, report, options.axe, name)
                bad += len(found)
                print(f"{report} {name}: {size_mb:.1f} MB, {len(found)} faults")
                for fault in found:
                    print(f"  {fault}")
        browser.close()
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
