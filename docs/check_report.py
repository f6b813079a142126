"""Open reports in a headless browser at desktop and phone width and look for faults.

Run ``python docs/check_report.py REPORT...``. It needs Chromium and the packages playwright and
axe-playwright-python (both in the extra ``test``). Says what the console reported, whether the
page is wider than the screen, what axe-core finds, and whether every number that the page gives
as one of `results.json` is that of the file beside it; leaves ``REPORT-desktop.png`` and
``REPORT-phone.png``, the first screens, beside each report. The exit code is 1 if anything is
wrong.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
SETTLED_MS = 2500
LARGEST_MB = 10.0

NUMBERS = "[...document.querySelectorAll('data')].map((one) => [one.dataset.path, one.value])"


def axe_file() -> Path:
    """Return axe-core as axe-playwright-python brings it."""
    found = find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        raise SystemExit(
            "axe-core is missing: pip install axe-playwright-python, or give --axe FILE"
        )
    return Path(found.origin).with_name("axe.min.js")


def looked_up(results: object, path: str) -> object:
    """Return what a document holds at a path such as ``verdict.limits[0].path[1].value``."""
    for part in re.findall(r"[^.\[\]]+", path):
        results = results[int(part) if part.isdigit() else part]  # type: ignore[index]
    return results


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
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        found.append("wider than the screen")
    found += wrong_numbers(page.evaluate(NUMBERS), report.with_name("results.json"))
    page.add_script_tag(path=str(axe))
    for fault in page.evaluate("axe.run()")["violations"]:
        places = [node["html"][:80] for node in fault["nodes"][:3]]
        found.append(f"axe: {fault['id']} ({fault['impact']}) at {places}")
    context.close()
    return found


def wrong_numbers(numbers: list[list[str]], file: Path) -> list[str]:
    """Say which numbers of a page are not those of the results."""
    if not file.exists():
        return [f"{file.name} is not beside the report"]
    results = json.loads(file.read_text())
    if not numbers:
        return ["the page holds no number of the results"]
    return [
        f"{path} is {value} on the page, {there!r} in {file.name}"
        for path, value in numbers
        if ("" if (there := looked_up(results, path)) is None else repr(there)) != value
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reports", type=Path, nargs="+")
    parser.add_argument("--axe", type=Path, help="axe.min.js; by default that of the package")
    options = parser.parse_args()
    axe, bad = options.axe or axe_file(), 0
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for report in options.reports:
            size_mb = report.stat().st_size / 1e6
            for name in WIDTHS:
                found = faults(browser, report, axe, name)
                if size_mb > LARGEST_MB:
                    found.append(f"larger than {LARGEST_MB:g} MB")
                bad += len(found)
                print(f"{report} {name}: {size_mb:.1f} MB, {len(found)} faults")
                for fault in found:
                    print(f"  {fault}")
        browser.close()
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
