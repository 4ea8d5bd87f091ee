"""`python -m tests.dashboard.picture URL FILE [WIDTH]`: a picture of the page, for README."""

import sys

from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
WIDTH, HEIGHT = 1280, 900
SEEN_MS = 4000  # that the page is looked at, so that all of it has come


def main() -> None:
    url, path, *width = sys.argv[1:]
    size = {"width": int(width[0]) if width else WIDTH, "height": HEIGHT}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=size)
        errors: list[str] = []
        page.on("console", lambda said: said.type == "error" and errors.append(said.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        page.wait_for_timeout(SEEN_MS)
        page.screenshot(path=path, full_page=True)
        browser.close()
    for error in errors:
        print(error, file=sys.stderr)
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
