"""The page for people: its files, and the form that takes a token.

The page is one more client of sdenv's own API; here is nothing but what a browser needs to begin. Its files
lie in `sdenv/assets/page`, are the same for everybody, and are sent as they are.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Final, Self, final
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from sdenv.core.errors import Denied, UnknownName
from sdenv.servers.http import schemas
from sdenv.servers.http.about import default_model
from sdenv.servers.http.access import COOKIE, PAGE_FOLDER, Access
from sdenv.servers.http.answers import error_response, errors, is_a
from sdenv.servers.http.context import Service
from sdenv.servers.http.principal import principal_of

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",  # previews come as data, pictures to start from as blobs
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",  # no text ever becomes markup, wherever it came from
        "trusted-types 'none'",
    )
)
"""Nothing from elsewhere, nothing inline, nothing evaluated."""

MEDIA_TYPES: Final[Mapping[str, str]] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_COOKIE_S: Final = 30 * 24 * 3600


@final
@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page.

    Attributes:
        data: Its bytes.
        media_type: By the end of its name.
        tag: Changes with its bytes: what a browser that has it already asks by.
    """

    data: bytes
    media_type: str
    tag: str

    @classmethod
    def of(cls, name: str, data: bytes) -> Self:
        """A file of this name."""
        return cls(data, MEDIA_TYPES[name.rpartition(".")[2]], f'"{hashlib.sha256(data).hexdigest()[:32]}"')

    def response(self, request: Request) -> Response:
        """The file, or that the browser has it already."""
        headers = {
            "ETag": self.tag,
            "Cache-Control": "no-cache",  # kept, but asked for again: an upgrade shows at the next reload
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
            "Referrer-Policy": "same-origin",  # without it browsers send a form's origin as null
            "Vary": "Accept, Cookie",
        }
        if request.headers.get("if-none-match") == self.tag:
            return Response(status_code=304, headers=headers)
        return Response(self.data, media_type=self.media_type, headers=headers)


def page_files() -> dict[str, PageFile]:
    """The files of the page by name."""
    folder = files("sdenv").joinpath("assets", "page")
    return {each.name: PageFile.of(each.name, each.read_bytes()) for each in folder.iterdir()}


def router(service: Service) -> APIRouter:
    """`/`, the files below `/page/`, and the forms at `/login` and `/logout`."""
    routes = APIRouter()
    _add_files(routes, service)
    _add_login(routes, service)
    return routes


def _add_files(routes: APIRouter, service: Service) -> None:
    kept = page_files()

    @routes.get(
        "/",
        tags=["pages"],
        responses={**is_a(schemas.Root, "text/html"), **errors()},
    )
    def root(request: Request) -> Response:
        """The page for browsers, JSON for programs. Needs no token."""
        asker = principal_of(request)
        if "text/html" in request.headers.get("accept", ""):
            return kept["login.html" if asker.is_stranger else "index.html"].response(request)
        model = None if asker.is_stranger else default_model(service)
        return JSONResponse({"status": "OK", "model": model})

    @routes.get(PAGE_FOLDER + "{name}", include_in_schema=False)
    async def page_file(request: Request, name: str) -> Response:
        """One of the files of the page; a name is looked up, never opened."""
        found = kept.get(name)
        if found is None:
            response = error_response(UnknownName(f"The page has no file {name[:100]!r}."))
            response.status_code = 404
            return response
        return found.response(request)


def _add_login(routes: APIRouter, service: Service) -> None:
    access = Access(service.settings)

    @routes.post("/login", include_in_schema=False)
    def login(request: Request, token: Annotated[str, Form(max_length=4096)]) -> Response:
        """Takes a token from the page's form and gives it back as a cookie that only this server gets."""
        if access.needs_token and access.holder(token) is None:
            raise Denied("The token is not one that this server knows.")
        answer = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(
            COOKIE, quote(token, safe=""), _COOKIE_S, httponly=True, samesite="strict", secure=secure
        )
        return answer

    @routes.post("/logout", include_in_schema=False)
    def logout() -> Response:
        """Takes the cookie back."""
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer
