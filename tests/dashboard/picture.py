"""`python -m tests.dashboard.picture URL FILE [WIDTH]`: a picture of the page, for README."""

import sys

from tests.browser import chromium

WIDTH, HEIGHT = 1280, 900
SEEN_MS = 4000  # that the page is looked at, so that all of it has come


def main() -> None:
    url, path, *width = sys.argv[1:]
    size = {"width": int(width[0]) if width else WIDTH, "height": HEIGHT}
    with chromium() as browser:
        page = browser.new_page(viewport=size)
        errors: list[str] = []
        page.on("console", lambda said: said.type == "error" and errors.append(said.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        page.wait_for_timeout(SEEN_MS)
        page.screenshot(path=path, full_page=True)
    for error in errors:
        print(error, file=sys.stderr)
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
