"""A file in which a role says each second that its loop turns, and what is wrong if anything is.

That a port is open says little: libzmq answers for a loop that hangs.
"""

import json
import time
from contextlib import suppress
from pathlib import Path

from cli.errors import UsageError
from cli.whole_file import write_whole

BEAT_S = 1.0
STALE_S = 5.0  # a loop that has not turned for so long hangs


class Pulse:
    """Writes the file; without one, nothing."""

    def __init__(self, path: Path | None) -> None:
        """Name the file.

        Raises:
            UsageError: it cannot be written.
        """
        if path is not None:
            try:
                write_whole(path, "{}")
            except OSError as error:
                raise UsageError(
                    f"expected a file that can be written, got {error.strerror} — {path};"
                    " give --health-file another place"
                ) from None
        self._path = path
        self._beat_s = float("-inf")
        self._trouble = ""

    def beat(self, now: float, trouble: str) -> None:
        """Say that the loop turns.

        Args:
            now: seconds of the monotonic clock, which all processes of a machine share.
            trouble: what is wrong, for people; empty if nothing is.
        """
        if self._path is None or (now - self._beat_s < BEAT_S and trouble == self._trouble):
            return
        self._beat_s, self._trouble = now, trouble
        with suppress(OSError):  # then the file grows old, which says as much
            write_whole(self._path, json.dumps({"monotonic_s": now, "trouble": trouble}))


def ill(path: Path) -> str:
    """Say what is wrong with the role that writes this file; empty if nothing is."""
    try:
        read = json.loads(path.read_text())
        age_s = time.monotonic() - float(read["monotonic_s"])
        trouble = str(read["trouble"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return (
            f"expected a role that writes its health, got {error} — {path};"
            " start it with --health-file"
        )
    if not 0 <= age_s <= STALE_S:
        return (
            f"expected a loop that turned within {STALE_S:g} s, got {age_s:.1f} s — {path};"
            " it hangs or has ended: look at its log, and start it again"
        )
    if not trouble:
        return ""
    return f"expected a run without trouble, got: {trouble} — {path}; training goes on meanwhile"
