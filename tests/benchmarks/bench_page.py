"""How soon the page is painted, and whether it stays quick while five jobs stream events.

    python -m tests.benchmarks.bench_page

Both are measured by the browser itself: `first-contentful-paint` counts from the start of the navigation;
`longtask` reports every task of more than 50 ms. Limits: 300 ms, and no task above 100 ms. The server and
the browser share the machine, and the jobs make a preview at every step.
"""

import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from playwright.sync_api import Browser, sync_playwright

from tests.servers.page.browser import launched, make, opened
from tests.stress.served import Served

PAINTS: Final = 10
PAINT_LIMIT_MS: Final = 300
TASK_LIMIT_MS: Final = 100
JOBS: Final = 5
STEPS: Final = 150
STEP_S: Final = 0.02
WATCHED_S: Final = 20.0

FIRST_PAINT = """() => new Promise((resolve) => {
    new PerformanceObserver((list) => {
        const found = list.getEntries().find((each) => each.name === "first-contentful-paint");
        if (found) resolve(found.startTime);
    }).observe({ type: "paint", buffered: true });
})"""
WATCH_TASKS = """() => {
    window.longTasks = [];
    const keep = (list) => window.longTasks.push(...list.getEntries().map((each) => each.duration));
    new PerformanceObserver(keep).observe({ type: "longtask" });
}"""
COUNT_EVENTS = """() => {
    window.events = 0;
    const Source = window.EventSource;
    window.EventSource = class extends Source {
        addEventListener(type, listener) {
            super.addEventListener(type, (event) => {
                window.events += type === "error" ? 0 : 1;
                listener(event);
            });
        }
    };
}"""


def paints(browser: Browser, url: str) -> list[float]:
    """Milliseconds from the request to the first paint, each time with an empty cache."""
    found = []
    for _ in range(PAINTS):
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        found.append(float(page.evaluate(FIRST_PAINT)))
        context.close()
    return found


def long_tasks(browser: Browser, url: str) -> tuple[list[float], int]:
    """Milliseconds of each long task while five jobs run, and how many events came."""
    page = browser.new_page()
    opened(page, url)
    page.evaluate(COUNT_EVENTS)
    page.evaluate(WATCH_TASKS)
    page.fill("#steps", str(STEPS))
    for number in range(JOBS):
        make(page, f"number {number}")
    end = time.monotonic() + WATCHED_S
    while time.monotonic() < end and page.locator("#results .tile").count() < JOBS:
        page.wait_for_timeout(200)
    return [float(each) for each in page.evaluate("window.longTasks")], int(page.evaluate("window.events"))


def main() -> int:
    """Prints both; the exit code says whether they are within the limits."""
    with TemporaryDirectory() as folder, sync_playwright() as playwright, launched(playwright) as browser:
        options = ["-O", f"step_seconds={STEP_S}", "-O", f"concurrency={JOBS}"]
        served = Served(Path(folder), ["--backend", "fake", *options])
        served.start()
        try:
            served.wait_until_listening()
            first = paints(browser, served.url)
            tasks, events = long_tasks(browser, served.url)
        finally:
            served.stop()
    print(f"first paint: median {statistics.median(first):.0f} ms, worst {max(first):.0f} ms of {PAINTS}")
    print(f"             limit {PAINT_LIMIT_MS} ms")
    print(f"long tasks: {len(tasks)} over 50 ms, worst {max(tasks, default=0):.0f} ms, {events} events")
    print(f"            limit {TASK_LIMIT_MS} ms")
    return int(max(first) > PAINT_LIMIT_MS or max(tasks, default=0) > TASK_LIMIT_MS)


if __name__ == "__main__":
    sys.exit(main())
