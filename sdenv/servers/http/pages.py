"""The page that lists the routes. No scripts."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

HTML_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
}

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .3rem; }
code, pre { font: 14px/1.5 ui-monospace, monospace; } pre { overflow-x: auto; padding: .7rem;
background: color-mix(in srgb, currentColor 8%, transparent); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; } td { padding: .15rem .8rem .15rem 0; vertical-align: top; }
.quiet { opacity: .7; }
"""


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


def routes_page(document: Mapping[str, Any]) -> str:
    """The routes of an OpenAPI document, as a page that loads nothing from elsewhere."""
    parts = [f"<h1>sdenv {escape(document['info']['version'])}</h1>"]
    parts.append('<p>The whole truth is in <a href="/openapi.json">openapi.json</a>.</p>')
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            parts += _route(method.upper(), path, route)
    return _page("Routes of sdenv", "".join(parts))


def _route(method: str, path: str, route: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{method} {escape(path)}</code></h2><p>{escape(route.get('description', ''))}</p>"
    rows = [
        (f"{each['name']} ({each['in']})", each.get("description", ""))
        for each in route.get("parameters", ())
    ]
    rows += [(status, each.get("description", "")) for status, each in route["responses"].items()]
    cells = "".join(f"<tr><td><code>{escape(a)}</code></td><td>{escape(b)}</td></tr>" for a, b in rows)
    yield f'<table class="quiet">{cells}</table>'
