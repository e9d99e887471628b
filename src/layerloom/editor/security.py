"""Who may speak to the editor's server: whoever knows its token, from its own page, on this machine.

The token comes in the address that `layerloom edit` prints. The first page answers it with a cookie, which browsers
send along from this server's own pages alone; requests that name another host (as a page does whose name was pointed at
this machine) or come from another page are refused, and so are web sockets, to which browsers let any page connect.
"""

import secrets
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "layerloom"
POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode("ascii")),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Guard:
    """Wraps an application: refuses what may not speak to it, and adds headers that keep its page to itself."""

    def __init__(self, app: ASGIApp, token: str, hosts: frozenset[str]) -> None:
        """hosts: `name:port` by which the server may be called."""
        self._app, self._token, self._hosts = app, token, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As any ASGI application."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        reason = self._refusal(scope["type"], headers)
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if not reason and scope["type"] == "http" and scope["path"] == "/" and self._is_token(given):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict", path="/")
            await answer(scope, receive, _with_headers(send))
            return
        if not reason and not self._is_token(_cookie(headers)):
            reason = "the address lacks the token that layerloom edit printed; open that address"
        if not reason:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "http":
            await PlainTextResponse(reason, 403)(scope, receive, _with_headers(send))
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": reason[:120]})

    def _refusal(self, kind: str, headers: dict[str, str]) -> str:
        """Why a request is not for us; empty if it is."""
        if headers.get("host", "").lower() not in self._hosts:
            return "another host's name"
        origin = headers.get("origin")
        if origin is None:
            return "a web socket without an origin" if kind == "websocket" else ""
        parts = urlsplit(origin)
        return "" if parts.scheme == "http" and parts.netloc.lower() in self._hosts else "another page's request"

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode("utf-8"), self._token.encode("ascii"))


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(24)


def _cookie(headers: dict[str, str]) -> str:
    cookies = SimpleCookie(headers.get("cookie", ""))
    return cookies[COOKIE].value if COOKIE in cookies else ""


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *HEADERS]
        await send(message)

    return sending
