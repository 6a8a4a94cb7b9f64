"""AUTOMATIC1111's API over a real server: its routes, its forms, and what its clients rely on."""

import base64
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from sdenv.core.backend import Backend
from sdenv.core.image import JPEG, WEBP, ImageData, decode, size_of
from sdenv.core.server import Address
from sdenv.net.exchange import Answer
from sdenv.protocols.inline import as_base64, as_data_uri
from sdenv.services.metadata import read_metadata
from sdenv.testing.fakes import PATIENCE_S, SilentBackend, SlowBackend
from sdenv.testing.samples import mask, picture
from tests.support.calls import JSON, call, get, post
from tests.support.http_servers import http_server
from tests.support.waiting import until

API = "/sdapi/v1"
SMALL = {"width": 64, "height": 64, "steps": 2}


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    """A server that draws at once, shared by tests that leave its options alone."""
    with http_server(queue_size=64) as bound:
        yield bound


@pytest.fixture
def slow() -> Iterator[tuple[Address, SlowBackend]]:
    """A server whose jobs do a step each time they are let."""
    backend = SlowBackend()
    with http_server(backend, queue_size=8) as bound:
        yield bound, backend
        backend.let(1000)


def made(address: Address, route: str = "txt2img", **body: Any) -> tuple[list[ImageData], dict[str, Any]]:
    """Pictures and info of a call."""
    answer = post(address, f"{API}/{route}", {"prompt": "a cat", **SMALL, **body})
    assert set(answer) == {"images", "parameters", "info"}
    images = [ImageData.from_bytes(base64.b64decode(each, validate=True)) for each in answer["images"]]
    return images, json.loads(answer["info"])


@pytest.fixture
def asking() -> Iterator[ThreadPoolExecutor]:
    """Threads for calls that wait."""
    with ThreadPoolExecutor(4) as threads:
        yield threads


def later(threads: ThreadPoolExecutor, address: Address, **body: Any) -> "Future[Answer]":
    """A call that waits."""
    return threads.submit(call, address, "POST", f"{API}/txt2img", {"prompt": "a", **SMALL, **body})


# Routes


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("samplers", {"name", "aliases", "options"}),
        ("schedulers", {"name", "label", "aliases", "default_rho", "need_inner_model"}),
        ("upscalers", {"name", "model_name", "model_path", "model_url", "scale"}),
        ("latent-upscale-modes", {"name"}),
        ("sd-models", {"title", "model_name", "hash", "sha256", "filename", "config"}),
    ],
)
def test_a_list_has_the_keys_of_automatic1111(address: Address, path: str, keys: set[str]) -> None:
    found = get(address, f"{API}/{path}")
    assert found
    assert all(set(each) == keys for each in found)


@pytest.mark.parametrize(
    "path",
    [
        "sd-vae", "loras", "prompt-styles", "script-info", "extensions", "hypernetworks", "face-restorers",
        "realesrgan-models",
    ],
)  # fmt: skip
def test_what_is_not_there_is_an_empty_list(address: Address, path: str) -> None:
    assert get(address, f"{API}/{path}") == []


def test_other_questions_have_their_form(address: Address) -> None:
    assert get(address, f"{API}/scripts") == {"txt2img": [], "img2img": []}
    assert get(address, f"{API}/embeddings") == {"loaded": {}, "skipped": {}}
    memory = get(address, f"{API}/memory")
    assert set(memory["ram"]) == {"free", "used", "total"}
    assert "cuda" in memory
    assert isinstance(get(address, f"{API}/cmd-flags"), dict)


def test_options_hold_what_clients_look_for(address: Address) -> None:
    options = get(address, f"{API}/options")
    titles = [each["title"] for each in get(address, f"{API}/sd-models")]
    assert options["sd_model_checkpoint"] in titles
    assert "sd_checkpoint_hash" in options
    assert (options["sd_vae"], options["CLIP_stop_at_last_layers"]) == ("Automatic", 1)
    assert options["samples_format"] == "png"


@pytest.mark.parametrize(
    "path", ["refresh-checkpoints", "refresh-vae", "refresh-embeddings", "refresh-loras"]
)
def test_a_refresh_answers_null(address: Address, path: str) -> None:
    assert post(address, f"{API}/{path}", {}) is None


@pytest.mark.parametrize("path", ["unload-checkpoint", "reload-checkpoint", "interrupt"])
def test_others_answer_an_empty_object_whatever_the_body(address: Address, path: str) -> None:
    assert post(address, f"{API}/{path}", "") == {}
    assert call(address, "POST", f"{API}/{path}").json() == {}


def test_skip_answers_null(address: Address) -> None:
    assert post(address, f"{API}/skip", {}) is None


@pytest.mark.parametrize("path", ["interrogate", "extra-single-image", "extra-batch-images"])
def test_what_is_not_implemented_says_so_in_four_keys(address: Address, path: str) -> None:
    answer = call(address, "POST", f"{API}/{path}", {})
    assert answer.status == 501
    assert answer.record()["error"] == "NotImplementedError"
    assert set(answer.record()) == {"error", "detail", "body", "errors"}


@pytest.mark.parametrize("path", ["server-kill", "server-restart", "server-stop", "create/embedding"])
def test_nobody_ends_the_server_over_it(address: Address, path: str) -> None:
    answer = call(address, "POST", f"{API}/{path}", {})
    assert (answer.status, answer.json()) == (404, {"detail": "Not Found"})


def test_head_works_on_every_get_route(address: Address) -> None:
    for path in ("options", "sd-models", "progress", "scripts"):
        answer = call(address, "HEAD", f"{API}/{path}")
        assert (answer.status, answer.body) == (200, b"")


def test_every_answer_says_how_long_it_took(address: Address) -> None:
    for method, path, body in (("GET", "options", None), ("POST", "txt2img", {"steps": "x"})):
        assert float(call(address, method, f"{API}/{path}", body).headers["x-process-time"]) >= 0


# Pictures


def test_a_picture_is_bare_base64_with_its_parameters_inside(address: Address) -> None:
    images, info = made(address, seed=7)
    read = read_metadata(images[0].data)
    assert (size_of(images[0]), read.seed, info["seed"]) == ((64, 64), 7, 7)
    assert info["infotexts"][0].startswith("a cat\nSteps: 2")


def test_an_empty_body_is_a_request() -> None:
    with http_server() as address:
        answer = post(address, f"{API}/txt2img", {"steps": 1})
    assert len(answer["images"]) == 1
    assert (answer["parameters"]["width"], answer["parameters"]["cfg_scale"]) == (512, 7.0)


def test_a_random_seed_is_reported(address: Address) -> None:
    _, info = made(address, seed=-1)
    assert 0 <= info["seed"] < 2**32


def test_seeds_of_a_batch_count_up(address: Address) -> None:
    images, info = made(address, seed=2**32 - 1, batch_size=2, n_iter=2)
    assert info["all_seeds"] == [2**32 - 1, 0, 1, 2]
    assert [read_metadata(each.data).seed for each in images] == info["all_seeds"]
    assert len(info["infotexts"]) == 4


def test_no_pictures_are_sent_when_nobody_wants_them(address: Address) -> None:
    images, info = made(address, send_images=False)
    assert images == []
    assert len(info["all_seeds"]) == 1


def test_img2img_takes_a_data_uri_and_paints_where_the_mask_is_white(address: Address) -> None:
    init = picture(64, 64)
    body = {"init_images": [as_data_uri(init)], "mask": as_base64(mask(64, 64)), "mask_blur": 0}
    images, info = made(address, "img2img", **body, denoising_strength=0.5)
    left = decode(images[0]).convert("RGB").crop((0, 0, 32, 64)).tobytes()
    right = decode(images[0]).convert("RGB").crop((32, 0, 64, 64)).tobytes()
    assert left == decode(init).convert("RGB").crop((0, 0, 32, 64)).tobytes()
    assert right != decode(init).convert("RGB").crop((32, 0, 64, 64)).tobytes()
    assert info["denoising_strength"] == 0.5


def test_a_size_is_made_exactly_as_asked_or_rounded_with_a_note(address: Address) -> None:
    native = {"sd_model_checkpoint": "mosaic-native"}
    images, info = made(address, width=128, height=136, override_settings=native)
    assert size_of(images[0]) == (128, 136) == (info["width"], info["height"])
    assert "resampled" in info["extra_generation_params"]["Notes"]
    images, info = made(address, width=71, height=64)
    assert size_of(images[0]) == (64, 64)
    assert "71x64" in info["extra_generation_params"]["Notes"]


def test_what_is_left_out_is_named_in_headers_and_info(address: Address) -> None:
    body = {**SMALL, " url": "x", "enable_hr": True, "tiling": True, "bad\r\nname ": 1}
    answer = call(address, "POST", f"{API}/txt2img", body)
    notes = json.loads(answer.record()["info"])["extra_generation_params"]["Notes"]
    assert answer.headers["x-sdenv-ignored"] == "url, tiling, bad??name"
    assert "hires" in answer.headers["x-sdenv-notice"]
    assert "hires" in notes
    assert "tiling" in notes


@pytest.mark.parametrize(("name", "media_type"), [("jpg", JPEG), ("webp", WEBP)])
def test_another_file_type_for_one_job_carries_the_parameters_too(
    address: Address, name: str, media_type: str
) -> None:
    images, _ = made(address, override_settings={"samples_format": name}, seed=3)
    assert images[0].media_type == media_type
    assert read_metadata(images[0].data).seed == 3
    assert get(address, f"{API}/options")["samples_format"] == "png"


def test_settings_of_one_job_touch_no_other(address: Address) -> None:
    native = {"sd_model_checkpoint": "mosaic-native", "CLIP_stop_at_last_layers": 3}
    _, info = made(address, override_settings=native, width=256, height=256)
    assert (info["sd_model_name"], info["clip_skip"]) == ("mosaic-native", 3)
    _, info = made(address)
    assert (info["sd_model_name"], info["clip_skip"]) == ("mosaic", 1)


def test_post_options_changes_later_jobs_and_can_be_posted_back_whole() -> None:
    with http_server() as address:
        options = get(address, f"{API}/options")
        assert post(address, f"{API}/options", {**options, "sd_model_checkpoint": "mosaic-native"}) is None
        assert get(address, f"{API}/options")["sd_model_checkpoint"] == "mosaic-native"
        _, info = made(address, width=256, height=256)
        assert info["sd_model_name"] == "mosaic-native"
        refused = call(address, "POST", f"{API}/options", {"sd_model_checkpoint": "no such"})
        assert refused.status == 422
        assert get(address, f"{API}/options")["sd_model_checkpoint"] == "mosaic-native"


def test_post_options_changes_nothing_for_another_token() -> None:
    tokens = {name: {"secret": f"secret-of-{name}"} for name in ("ann", "bob")}
    ann, bob = ({**JSON, "Authorization": f"Bearer secret-of-{name}"} for name in tokens)
    native = {"sd_model_checkpoint": "mosaic-native", "samples_format": "jpg"}
    with http_server(tokens=tokens) as address:
        assert call(address, "POST", f"{API}/options", native, ann).status == 200
        names = [
            call(address, "GET", f"{API}/options", headers=each).record()["samples_format"]
            for each in (ann, bob)
        ]
        assert names == ["jpg", "png"]
        made_for_bob = call(address, "POST", f"{API}/txt2img", SMALL, bob)
        assert json.loads(made_for_bob.record()["info"])["sd_model_name"] == "mosaic"


def test_an_unknown_model_is_the_default_one_unless_the_server_is_strict() -> None:
    body = {**SMALL, "override_settings": {"sd_model_checkpoint": "dall-e-3"}}
    with http_server() as address:
        answer = call(address, "POST", f"{API}/txt2img", body)
        assert json.loads(answer.record()["info"])["sd_model_name"] == "mosaic"
        assert "dall-e-3" in answer.headers["x-sdenv-notice"]
    with http_server(strict_models=True) as address:
        assert call(address, "POST", f"{API}/txt2img", body).status == 422


# png-info


def test_png_info_reads_what_a_picture_says(address: Address) -> None:
    images, _ = made(address, seed=11, negative_prompt="red")
    found = post(address, f"{API}/png-info", {"image": as_data_uri(images[0])})
    assert set(found) == {"info", "items", "parameters"}
    assert found["info"].startswith("a cat\nNegative prompt: red\nSteps: 2")
    assert (found["parameters"]["Seed"], found["parameters"]["Prompt"]) == ("11", "a cat")
    bare = post(address, f"{API}/png-info", {"image": as_base64(picture())})
    assert (bare["info"], bare["items"]) == ("", {})


# Errors


@pytest.mark.parametrize(
    ("route", "body", "status"),
    [
        ("img2img", {}, 404),
        ("img2img", {"init_images": None}, 404),
        ("img2img", {"init_images": ["bm8gcGljdHVyZQ=="]}, 400),
        ("img2img", {"init_images": ["http://127.0.0.1/x.png"]}, 400),
        ("txt2img", {"sampler_name": "no such"}, 400),
        ("txt2img", {"script_name": "no such"}, 422),
        ("txt2img", {"steps": "many"}, 422),
        ("txt2img", {"width": 100_000, "height": 100_000}, 422),
        ("txt2img", {"n_iter": 17}, 422),
        ("txt2img", b"not json", 422),
        ("txt2img", b"[1]", 422),
        ("txt2img", b"[" * 9999, 422),
        ("txt2img", b'{"prompt": "\\ud800", "force_task_id": "\\udfff"}', 422),
        ("txt2img", b'{"steps": NaN}', 422),
        ("png-info", {"image": "no picture"}, 400),
        ("png-info", {}, 400),
    ],
)
def test_a_bad_request_is_refused_in_its_form_and_never_with_a_status_that_clients_repeat(
    address: Address, route: str, body: object, status: int
) -> None:
    answer = call(address, "POST", f"{API}/{route}", body)
    assert answer.status == status
    record = answer.record()
    assert "detail" in record
    assert "error" in record or status in (404, 422)
    assert "Traceback" not in answer.body.decode()


def test_the_body_must_come_as_json_since_any_web_page_can_send_text(address: Address) -> None:
    answer = call(address, "POST", f"{API}/txt2img", b"{}", {"Content-Type": "text/plain"})
    assert answer.status == 422
    assert isinstance(answer.record()["detail"], list)


def test_a_failure_of_the_backend_is_500_without_a_traceback() -> None:
    with http_server(FakeBackend(FakeSettings(fail_at_step=1))) as address:
        answer = call(address, "POST", f"{API}/txt2img", SMALL)
    assert answer.status == 500
    assert set(answer.record()) >= {"error", "detail", "body", "errors"}
    assert "Traceback" not in answer.body.decode()


def test_a_full_queue_says_when_to_come_back(asking: ThreadPoolExecutor) -> None:
    silent = SilentBackend()
    with http_server(silent, queue_size=0) as address:
        first = later(asking, address)
        assert silent.began.wait(PATIENCE_S)
        full = call(address, "POST", f"{API}/txt2img", SMALL)
        assert full.status == 429
        assert int(full.headers["retry-after"]) >= 1
        post(address, f"{API}/interrupt", {})
        assert first.result(PATIENCE_S).status == 200


def test_without_the_password_it_says_so_as_automatic1111_does() -> None:
    with http_server(token="letmein") as address:
        refused = call(address, "GET", f"{API}/options")
        assert refused.status == 401
        assert refused.record()["detail"] == "Incorrect username or password"
        assert refused.headers["www-authenticate"].startswith("Basic")
        word = base64.b64encode(b"anyone:letmein").decode()
        assert (
            call(address, "GET", f"{API}/options", headers={"Authorization": f"Basic {word}"}).status == 200
        )


@pytest.mark.parametrize("word", ["", "Og==", "dXNlcjpwYXNz"])
def test_without_a_token_on_loopback_any_credentials_will_do(address: Address, word: str) -> None:
    headers = {"Authorization": f"Basic {word}"}
    assert call(address, "GET", f"{API}/options", headers=headers).status == 200


# Progress, interrupt, skip


def test_idle_is_exactly_zero_and_a_running_job_never_is(
    slow: tuple[Address, SlowBackend], asking: ThreadPoolExecutor
) -> None:
    address, backend = slow
    idle = get(address, f"{API}/progress")
    assert (idle["progress"], idle["state"]["job_count"]) == (0, 0)
    waiting = later(asking, address, n_iter=2, force_task_id="task(mine)")
    assert backend.began.wait(PATIENCE_S)
    begun = until(lambda: (found := get(address, f"{API}/progress"))["current_task"] and found)
    assert begun["progress"] >= 0.01
    assert begun["current_task"] == "task(mine)"
    backend.let(3)
    half = until(lambda: (found := get(address, f"{API}/progress"))["state"]["job_no"] == 1 and found)
    until(lambda: get(address, f"{API}/progress")["progress"] == pytest.approx(0.01 + 0.5 + 0.25))
    assert (half["state"]["job_count"], half["state"]["sampling_steps"]) == (2, 2)
    backend.let(1000)
    assert waiting.result(PATIENCE_S).status == 200
    until(lambda: get(address, f"{API}/progress")["progress"] == 0)


def test_a_job_that_waits_is_seen_as_not_idle() -> None:
    silent = SilentBackend()
    with http_server(silent) as address:
        for _ in range(2):
            assert call(address, "POST", "/image/generate", {"prompt": "a"}).status in (200, 429)
        assert get(address, f"{API}/progress")["progress"] >= 0.01


def test_a_preview_is_shown_unless_it_is_not_wanted(asking: ThreadPoolExecutor) -> None:
    with http_server(FakeBackend(FakeSettings(step_seconds=0.05))) as address:
        post(address, f"{API}/options", {"show_progress_every_n_steps": 1})
        waiting = later(asking, address, steps=100)
        shown = until(lambda: get(address, f"{API}/progress")["current_image"])
        decode(ImageData.from_bytes(base64.b64decode(shown)))
        assert get(address, f"{API}/progress?skip_current_image=true")["current_image"] is None
        until(lambda: get(address, f"{API}/progress?skipCurrentImage=true"))  # as one client spells it
        post(address, f"{API}/interrupt", {})
        assert waiting.result(PATIENCE_S).status == 200


def test_an_interrupt_gives_what_exists_so_far_and_leaves_the_queue(
    slow: tuple[Address, SlowBackend], asking: ThreadPoolExecutor
) -> None:
    address, backend = slow
    running = later(asking, address, n_iter=3, seed=5)
    assert backend.began.wait(PATIENCE_S)
    queued = later(asking, address, seed=50)
    until(lambda: get(address, "/internal/pendingTasks")["size"] == 2)
    backend.let(3)
    until(lambda: get(address, f"{API}/progress")["state"]["job_no"] == 1)
    assert post(address, f"{API}/interrupt", {}) == {}
    backend.let(1000)
    record = running.result(PATIENCE_S).record()
    assert len(record["images"]) == 1
    assert json.loads(record["info"])["all_seeds"] == [5]
    assert json.loads(queued.result(PATIENCE_S).record()["info"])["all_seeds"] == [50]


def test_a_skip_leaves_out_one_picture_and_makes_those_after_it(
    slow: tuple[Address, SlowBackend], asking: ThreadPoolExecutor
) -> None:
    address, backend = slow
    running = later(asking, address, n_iter=3, seed=5)
    assert backend.began.wait(PATIENCE_S)
    backend.let(3)
    until(lambda: get(address, f"{API}/progress")["state"]["job_no"] == 1)
    post(address, f"{API}/skip", {})
    backend.let(1000)
    record = running.result(PATIENCE_S).record()
    assert json.loads(record["info"])["all_seeds"] == [5, 7]
    assert len(record["images"]) == 2


def test_an_interrupt_does_not_end_the_jobs_of_other_dialects(slow: tuple[Address, SlowBackend]) -> None:
    address, backend = slow
    uuid = post(address, "/image/generate", {"prompt": "a", **SMALL})["generation_uuid"]
    assert backend.began.wait(PATIENCE_S)
    post(address, f"{API}/interrupt", {})
    post(address, f"{API}/skip", {})
    backend.let(1000)
    found = until(lambda: get(address, f"/image/generate?generation_uuid={uuid}"))
    assert found[0]["errors"] == []


def test_a_client_that_hangs_up_cancels_its_job_and_no_other() -> None:
    silent = SilentBackend()
    with http_server(silent) as address:
        body = json.dumps(SMALL).encode()
        with socket.create_connection((address.host, address.port)) as client:
            head = f"POST {API}/txt2img HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            assert silent.began.wait(PATIENCE_S)
        assert silent.unblocked.wait(PATIENCE_S)
        until(lambda: get(address, f"{API}/progress")["progress"] == 0)


def test_internal_progress_follows_a_task_by_the_name_that_its_client_gave_it(
    slow: tuple[Address, SlowBackend], asking: ThreadPoolExecutor
) -> None:
    address, backend = slow

    def told(task: str) -> dict[str, Any]:
        body = {"id_task": task, "id_live_preview": -1, "live_preview": True}
        return dict(post(address, "/internal/progress", body))

    first = later(asking, address, force_task_id="one")
    assert backend.began.wait(PATIENCE_S)
    second = later(asking, address, force_task_id="two")
    until(lambda: get(address, "/internal/pendingTasks")["tasks"] == ["one", "two"])
    until(lambda: told("one")["active"])
    assert told("two")["queued"]
    backend.let(1000)
    assert (first.result(PATIENCE_S).status, second.result(PATIENCE_S).status) == (200, 200)
    assert told("one")["completed"]
    assert not told("never heard of")["completed"]
    assert get(address, "/internal/pendingTasks") == {"size": 0, "tasks": []}


def test_jobs_of_another_token_are_neither_seen_nor_ended() -> None:
    backend: Backend = SlowBackend()
    assert isinstance(backend, SlowBackend)
    tokens = {name: {"secret": f"secret-of-{name}"} for name in ("ann", "bob")}
    with http_server(backend, tokens=tokens) as address, ThreadPoolExecutor(1) as threads:

        def ask(name: str, method: str, path: str, body: object = None) -> Answer:
            return call(address, method, path, body, {**JSON, "Authorization": f"Bearer secret-of-{name}"})

        waiting = threads.submit(ask, "ann", "POST", f"{API}/txt2img", SMALL)
        assert backend.began.wait(PATIENCE_S)
        assert until(lambda: ask("ann", "GET", f"{API}/progress").json()["progress"]) > 0
        assert ask("bob", "GET", f"{API}/progress").json()["progress"] == 0
        ask("bob", "POST", f"{API}/interrupt", {})
        ask("bob", "POST", f"{API}/skip", {})
        backend.let(1000)
        assert len(waiting.result(PATIENCE_S).record()["images"]) == 1


def test_two_tokens_may_call_their_jobs_the_same() -> None:
    tokens = {name: {"secret": f"secret-of-{name}"} for name in ("ann", "bob")}
    with http_server(tokens=tokens) as address:

        def ask(name: str, path: str, body: object) -> dict[str, Any]:
            headers = {**JSON, "Authorization": f"Bearer secret-of-{name}"}
            return call(address, "POST", path, body, headers).record()

        for name in tokens:
            ask(name, f"{API}/txt2img", {**SMALL, "force_task_id": "mine"})
        told = [ask(name, "/internal/progress", {"id_task": "mine"})["completed"] for name in tokens]
        assert told == [True, True]


def test_many_clients_at_once_get_their_own_pictures(address: Address) -> None:
    seeds: list[int] = []
    lock = threading.Lock()

    def ask(seed: int) -> None:
        _, info = made(address, seed=seed)
        with lock:
            seeds.append(info["seed"] - seed)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert seeds == [0] * 8


def test_a_client_may_ask_for_refusals_instead_of_changes(address: Address) -> None:
    headers = {**JSON, "X-Sdenv-Exact": "true"}
    for body in ({**SMALL, "width": 67}, {**SMALL, "enable_hr": True}):
        answer = call(address, "POST", f"{API}/txt2img", body, headers)
        assert answer.status in (400, 422)
