"""Server-sent events: everything that happens to a job, also for a client that comes late or comes back."""

import threading
from contextlib import ExitStack

import httpx2

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.events import PreviewReady, StepDone
from sdenv.protocols.native import event_of
from sdenv.servers.http import HttpServer, HttpSettings
from sdenv.servers.http.context import MAX_STREAMS
from sdenv.services.engine import Engine
from sdenv.testing.fakes import PATIENCE_S, SilentBackend
from sdenv.testing.server_contract import serving
from tests.servers.http.support import JOBS, SMALL, asked, error_code, events, finished, plain, submitted
from tests.support.waiting import until


def test_a_client_that_comes_back_with_the_last_id_gets_exactly_the_rest() -> None:
    with asked() as client:
        job_id = finished(client)
        everything = events(client, job_id)
        for position, (event_id, _) in enumerate(everything[:-1]):
            header = events(client, job_id, headers={"Last-Event-ID": event_id})
            query = events(client, job_id, params={"after": event_id})
            assert header == query == everything[position + 1 :]


def test_after_the_last_event_there_is_nothing_so_that_a_browser_does_not_come_back() -> None:
    with asked() as client:
        job_id = finished(client)
        last_id, last = events(client, job_id)[-1]
        assert last["type"] == "job-ended"
        answer = client.get(f"{JOBS}/{job_id}/events", headers={"Last-Event-ID": last_id})
        assert (answer.status_code, answer.content) == (204, b"")


def test_a_last_event_id_that_is_none_is_refused() -> None:
    with asked() as client:
        job_id = finished(client)
        answer = client.get(f"{JOBS}/{job_id}/events", headers={"Last-Event-ID": "../1"})
        assert answer.status_code == 422


def test_steps_come_as_they_happen_and_previews_only_to_those_who_want_them() -> None:
    with asked() as client:
        job_id = submitted(client, preview_every=1)
        records = [record for _, record in events(client, job_id, params={"previews": "true"})]
        steps = [event_of(each) for each in records if each["type"] == "step-done"]
        assert steps == [StepDone(step, 3, 0) for step in (1, 2, 3)]
        previews = [event_of(each) for each in records if each["type"] == "preview-ready"]
        assert all(isinstance(each, PreviewReady) for each in previews)
        without = [record for _, record in events(client, job_id) if record["type"] == "preview-ready"]
        assert all("picture" not in each for each in without)


def test_a_silent_stream_says_that_it_lives() -> None:
    silent = SilentBackend()
    with asked(silent, keep_alive_s=0.05) as client:
        job_id = submitted(client)
        with client.stream("GET", f"{JOBS}/{job_id}/events") as answer:
            assert any(line == ": keep-alive" for line in answer.iter_lines())


def test_a_watcher_who_hangs_up_leaves_a_durable_job_alone() -> None:
    silent = SilentBackend()
    with asked(silent) as client:
        job_id = submitted(client)
        events(client, job_id, until="job-started")
        assert silent.began.wait(PATIENCE_S)
        assert client.get(f"{JOBS}/{job_id}").json()["state"] == "running"
        assert not silent.unblocked.is_set()


def test_one_token_may_not_have_any_number_of_streams() -> None:
    with asked(SilentBackend()) as client, ExitStack() as streams:
        path = f"{JOBS}/{submitted(client)}/events"
        others = streams.enter_context(httpx2.Client(base_url=client.base_url, limits=httpx2.Limits()))
        opened = [streams.enter_context(others.stream("GET", path)) for _ in range(MAX_STREAMS)]
        assert {each.status_code for each in opened} == {200}
        refused = client.get(path)
        assert (refused.status_code, error_code(refused)) == (429, "queue-full")
        assert int(refused.headers["retry-after"]) >= 1
        stream = {"prompt": "a", "stream": True, "size": "64x64"}
        assert client.post("/v1/images/generations", json=stream).status_code == 429
        opened[0].close()
        until(lambda: _is_let_in(client, path))


def _is_let_in(client: httpx2.Client, path: str) -> bool:
    with client.stream("GET", path) as answer:
        return answer.status_code == 200


def test_the_server_ends_at_once_although_streams_are_open() -> None:
    """The stream ends as it should, and is gone on with after the next start."""
    opened, ended = threading.Event(), threading.Event()

    def watch(client: httpx2.Client, job_id: str) -> None:
        with client.stream("GET", f"{JOBS}/{job_id}/events") as answer:
            for line in answer.iter_lines():
                if line.startswith("event: job-started"):
                    opened.set()
        ended.set()

    with Engine(SilentBackend(), name="silent") as engine, ExitStack() as clients:
        with serving(HttpServer(HttpSettings(drain_s=0.0)), engine) as address:
            client = clients.enter_context(plain(address))
            watcher = threading.Thread(target=watch, args=(client, submitted(client)))
            watcher.start()
            assert opened.wait(PATIENCE_S)
        watcher.join(PATIENCE_S)
    assert ended.is_set()


def test_many_watchers_see_the_same() -> None:
    with asked(FakeBackend(FakeSettings(step_seconds=0.01))) as client:
        job_id = submitted(client, request={**SMALL, "count": 2})
        seen: list[list[tuple[str, dict[str, object]]]] = []

        def watch() -> None:
            with httpx2.Client(base_url=client.base_url, timeout=PATIENCE_S, trust_env=False) as own:
                seen.append(events(own, job_id))

        watchers = [threading.Thread(target=watch) for _ in range(8)]
        for watcher in watchers:
            watcher.start()
        for watcher in watchers:
            watcher.join(PATIENCE_S)
        assert len(seen) == 8
        assert all(each == seen[0] for each in seen)
