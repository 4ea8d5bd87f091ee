"""A Bearer key on the HTTP door, as OpenAI has them.

Source: RFC 6750, sections 2.1 and 3; https://platform.openai.com/docs/guides/error-codes
"""

import hmac
from collections.abc import Callable, Collection

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from sampler.completions import error_body

SCHEME = "Bearer"


class ApiKey:
    """Lets through whoever has the key; of the paths that are open, everybody."""

    def __init__(
        self,
        app: ASGIApp,
        key: str,
        open_paths: Collection[str],
        on_unknown: Callable[[], None],
    ) -> None:
        """Stand before an app.

        Args:
            open_paths: that need no key.
            on_unknown: called when somebody is turned away.
        """
        self._app = app
        self._key = key.encode()
        self._open_paths = open_paths
        self._on_unknown = on_unknown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._open_paths:
            await self._app(scope, receive, send)
            return
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() == SCHEME.lower() and self._is_known(key.strip()):
            await self._app(scope, receive, send)
            return
        self._on_unknown()
        got = "another one" if key else "none"
        message = f"expected an API key of this server, got {got}; send it as {SCHEME} token"
        body = error_body(message, "invalid_request_error", None, "invalid_api_key")
        await JSONResponse(body, 401, {"WWW-Authenticate": SCHEME})(scope, receive, send)

    def _is_known(self, key: str) -> bool:
        """Compare, in a time that tells nothing of the right one."""
        return hmac.compare_digest(key.encode("latin-1", "replace"), self._key)
