"""`sdenv probe http`: a server as a page, or as JSON."""

import sys
from collections.abc import Sequence

from sdenv.cli.output import print_json, print_text
from sdenv.cli.pairs import key_values
from sdenv.cli.render import notice_text
from sdenv.cli.terminal import terminal_of
from sdenv.services.server_probe import ServerReport, probe_server
from sdenv.services.settings import load_settings


def probe(url: str, option: Sequence[str], *, with_picture: bool, as_json: bool) -> None:
    """Runs the command.

    Raises:
        SdenvError: The server cannot be used, and why.
    """
    report = probe_server(url, key_values(option, "-O"), load_settings(), with_picture=with_picture)
    if as_json:
        print_json({"type": "server", **report.as_record()})
        return
    terminal = terminal_of(sys.stderr)
    for notice in report.notices:
        print(notice_text(notice, terminal), file=sys.stderr)
    print_text(report_text(report))


def report_text(report: ServerReport) -> str:
    """The report as a page: what it is, how it is doing, what it can do."""
    can = report.status.capabilities
    rows = [
        ("Server", _server(report)),
        ("Speaks", ", ".join(report.dialects)),
        ("Latency", f"{report.latency_s * 1000:.1f} ms"),
        ("Queue", _queue(report)),
        ("Picture", _picture(report)),
        ("Models", ", ".join(model.name for model in report.status.models) or "it does not tell"),
        ("Tasks", ", ".join(sorted(task.value for task in can.tasks))),
        ("Carries", ", ".join(sorted(can.carries))),
        ("Samplers", "any name" if can.samplers is None else f"{len(can.samplers)}"),
        ("Progress", f"{can.progress}, previews {'yes' if can.previews else 'no'}"),
        ("Cancel", can.cancel),
    ]
    return "\n".join(f"{name:<9} {text}" for name, text in rows if text)


def _server(report: ServerReport) -> str:
    server = report.server
    if server is None:
        return f"{report.url}, of the seed dialect only"
    return f"{report.url}, sdenv {server.version}, backend {server.kind}"


def _queue(report: ServerReport) -> str:
    if report.server is None:
        return ""
    queue = report.server.queue
    ending = "; it is about to end and takes no more" if queue.draining else ""
    return f"{queue.running} running, {queue.queued} of {queue.size} places taken{ending}"


def _picture(report: ServerReport) -> str:
    made = report.picture
    if made is None:
        return ""
    return f"{made.width}x{made.height}, {made.size_bytes / 1000:.0f} kB, in {made.seconds:.2f} s"
