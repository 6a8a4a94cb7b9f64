"""Clients that send too much, too slowly, or go away: each costs one answer at most."""

import asyncio
import socket
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest
from starlette.types import Receive

from sdenv.core.errors import Busy, Cancelled, NoStepInTime, RequestTooLarge
from sdenv.core.image import ImageData
from sdenv.core.server import Address
from sdenv.servers.http.bodies import BODIES_IN_MEMORY, BodyReader
from sdenv.servers.http.many_values import MAX_SIGNS, check_values
from sdenv.testing.fakes import PATIENCE_S
from sdenv.testing.samples import mask, picture
from tests.servers.http.support import JOBS, SMALL, asked, error_code, finished
from tests.support.http_servers import http_server

LIMIT_BYTES = 2048


@pytest.fixture(scope="module")
def small() -> Iterator[httpx2.Client]:
    """A server that takes little."""
    with asked(limits={"body_bytes": LIMIT_BYTES}) as client:
        yield client


@contextmanager
def connected(address: Address) -> Iterator[socket.socket]:
    with socket.create_connection((address.host, address.port), PATIENCE_S) as connection:
        yield connection


def everything(connection: socket.socket) -> bytes:
    """What the server sends until it hangs up."""
    answer = b""
    try:
        while chunk := connection.recv(65536):
            answer += chunk
    except ConnectionResetError:
        pass
    return answer


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 512):
        yield b" " * 512


@pytest.mark.parametrize("size", [LIMIT_BYTES + 512, 3 * LIMIT_BYTES])
def test_a_body_over_the_limit_is_refused_announced_or_not(small: httpx2.Client, size: int) -> None:
    for content in (b" " * size, chunks(size)):
        answer = small.post(JOBS, content=content)
        assert (answer.status_code, error_code(answer)) == (413, "request-too-large")
    finished(small)


def test_a_body_that_is_announced_as_huge_is_not_waited_for() -> None:
    with http_server(limits={"body_bytes": LIMIT_BYTES}) as address, connected(address) as connection:
        head = f"POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {10**15}\r\n\r\n"
        connection.sendall(head.encode())
        assert everything(connection).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("length", ["-1", "abc", "1" * 40, "1, 2"])
def test_a_length_that_is_none_is_refused(length: str) -> None:
    with http_server() as address, connected(address) as connection:
        head = f"POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
        connection.sendall(head.encode())
        assert everything(connection).split(b" ", 2)[1] in (b"400", b"413")


@pytest.mark.parametrize("path", ["/health", JOBS, "/v1/models"])
def test_a_request_with_two_lengths_is_refused_and_nothing_behind_it_is_read(
    small: httpx2.Client, path: str
) -> None:
    address = Address(small.base_url.host, small.base_url.port or 0)
    with connected(address) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
        hidden = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}".encode())
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer.lower()


def test_a_client_that_does_not_finish_its_header_is_cut_off() -> None:
    with http_server(header_s=0.1) as address:
        for start in (b"", b"GET", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow:"):
            with connected(address) as connection:
                connection.sendall(start)
                assert everything(connection) == b""


def test_a_client_that_dawdles_after_its_first_answer_is_cut_off_too() -> None:
    with http_server(header_s=0.1) as address, connected(address) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        first = connection.recv(65536)
        connection.sendall(b"GET /heal")
        assert b"OK" in first + everything(connection)


def test_a_client_that_does_not_finish_its_body_gets_an_answer_and_is_cut_off() -> None:
    with http_server(body_s=0.1) as address, connected(address) as connection:
        head = f"POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{{"
        connection.sendall(head.encode())
        answer = everything(connection)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"no-step-in-time" in answer


def test_clients_that_hang_up_in_the_middle_hurt_nobody() -> None:
    with asked() as client:
        address = Address(client.base_url.host, client.base_url.port or 0)
        for start in (
            b"POST ",
            f"POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{{".encode(),
        ):
            with connected(address) as connection:
                connection.sendall(start)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finished(client)


def bomb() -> bytes:
    """A PNG of a few hundred bytes whose header promises 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    rest = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rest


def sent(data: bytes) -> dict[str, str]:
    return ImageData(data=data, media_type="image/png").model_dump(mode="json")


def test_pictures_that_are_none_or_would_explode_are_refused_before_a_job_exists() -> None:
    good = picture(64, 64).data
    with asked() as client:
        for data in (bomb(), b"no picture", b"", b"<svg/>", b"GIF89a" + bytes(64), b"\x80\x04.", good[:20]):
            wanted = {**SMALL, "init_image": sent(data)}
            answer = client.post(JOBS, json={"request": wanted})
            assert (answer.status_code, error_code(answer)) == (422, "bad-image"), data[:20]
        wanted = {**SMALL, "init_image": sent(good), "mask": sent(mask(32, 64).data)}
        assert error_code(client.post(JOBS, json={"request": wanted})) == "bad-mask"
        assert client.get(JOBS).json()["jobs"] == []


def test_sizes_and_numbers_beyond_the_limits_are_refused_before_a_job_exists() -> None:
    too_much = (
        {"width": 100_000, "height": 100_000},
        {"width": 8192, "height": 8192},
        {"width": 1024, "height": 1024, "hires": {"scale": 8.0}},
        {"width": 4096, "height": 64, "upscale": 8.0},
        {"steps": 1001},
        {"count": 17},
        {"prompt": "x" * 10_001},
        {"loras": [{"name": "a"}] * 9},
        {"seed": 2**32},
        {"guidance_scale": 1e300},
    )
    with asked() as client:
        for changes in too_much:
            answer = client.post(JOBS, json={"request": {**SMALL, **changes}})
            assert answer.status_code == 422, changes
        assert client.get(JOBS).json()["jobs"] == []


MANY = b'{"prompt": "a", "x": [' + b"[]," * MAX_SIGNS + b"[]]}"


def test_a_body_of_very_many_tiny_values_is_refused_by_every_dialect_before_it_is_parsed() -> None:
    posts = (JOBS, "/image/generate", "/sdapi/v1/txt2img", "/v1/images/generations")
    with asked() as client:
        for path in posts:
            for kind in ("application/json", "multipart/form-data; boundary=x"):
                answer = client.post(path, content=MANY, headers={"Content-Type": kind})
                assert answer.status_code == 413, path
                assert len(answer.content) < 1000
        assert client.get(JOBS).json()["jobs"] == []


@pytest.mark.parametrize("body", [MANY, b" \r\n" + MANY, MANY.decode().encode("utf-16"), b"-" + MANY])
def test_many_values_are_counted_in_whatever_a_parser_would_take(body: bytes) -> None:
    with pytest.raises(RequestTooLarge):
        asyncio.run(check_values(body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"prompt": "a", "init_image": "' + b"A" * 3_000_000 + b'"}',
        b"--boundary\r\n" + b"," * 2 * MAX_SIGNS,
        b"\r\n--boundary\r\n" + b"," * 2 * MAX_SIGNS,
        b"," * MAX_SIGNS,
    ],
)
def test_pictures_and_forms_are_no_many_values(body: bytes) -> None:
    asyncio.run(check_values(body))


def test_faults_are_told_in_few_words_however_many_there_are() -> None:
    with asked() as client:
        for wrong in ({f"wrong{index}": 1 for index in range(1000)}, {"x" * 100_000: 1}):
            answer = client.post(JOBS, json={"request": {**SMALL, **wrong}})
            assert answer.status_code == 422
            assert len(answer.content) < 3000


# The reader of bodies alone, where it is exact to the byte.


def receiving(*parts: bytes, hang_up: bool = False) -> Receive:
    pending = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if hang_up:
        pending.append({"type": "http.disconnect"})
    elif pending:
        pending[-1]["more_body"] = False

    async def receive() -> dict[str, object]:
        if not pending:
            await asyncio.Event().wait()
        return pending.pop(0)

    return receive


def idle_after(*parts: bytes) -> Receive:
    """A client that sends some parts of a body, and then nothing."""
    pending = [{"type": "http.request", "body": part, "more_body": True} for part in parts]

    async def receive() -> dict[str, object]:
        if not pending:
            await asyncio.Event().wait()
        return pending.pop(0)

    return receive


def read(reader: BodyReader, receive: Receive, announced: int | None) -> bytes:
    return asyncio.run(reader.read(receive, announced))


def test_a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_not() -> None:
    reader = BodyReader(10, 5.0)
    assert read(reader, receiving(b"12345", b"67890"), None) == b"1234567890"
    with pytest.raises(RequestTooLarge):
        read(reader, receiving(b"12345", b"678901"), None)
    with pytest.raises(RequestTooLarge):
        read(reader, receiving(b"12345678901"), 11)


def test_all_bodies_together_have_a_limit_and_what_is_forgotten_makes_room() -> None:
    reader = BodyReader(10, 5.0, free_bytes=0)
    for _ in range(BODIES_IN_MEMORY):
        read(reader, receiving(b"1234567890"), 10)
    for announced in (1, None):
        with pytest.raises(Busy):
            read(reader, receiving(b"1"), announced)
    reader.forget(10)
    assert read(reader, receiving(b"1"), 1) == b"1"


def test_clients_that_announce_much_and_send_little_keep_nobody_out() -> None:
    async def crowd(announced: int | None) -> bytes:
        reader = BodyReader(10, PATIENCE_S, free_bytes=0)
        idle = [asyncio.create_task(reader.read(idle_after(b"1"), announced)) for _ in range(40)]
        await asyncio.sleep(0)
        found = await reader.read(receiving(b"1234567890"), 10)
        for each in idle:
            each.cancel()
        await asyncio.wait(idle)
        return found

    for announced in (10, None):
        assert asyncio.run(crowd(announced)) == b"1234567890"


def test_a_small_body_is_let_in_while_large_ones_fill_the_memory() -> None:
    reader = BodyReader(10, 5.0, free_bytes=3)
    for _ in range(BODIES_IN_MEMORY * 10 // 7):
        read(reader, receiving(b"12345", b"67890"), None)
    with pytest.raises(Busy):
        read(reader, receiving(b"12345", b"67890"), None)
    assert read(reader, receiving(b"12", b"3"), None) == b"123"
    reader.forget(3)
    reader.forget(10)
    assert read(reader, receiving(b"1234567890"), 10) == b"1234567890"


def test_what_went_wrong_takes_no_room() -> None:
    reader = BodyReader(10, 0.01, free_bytes=0)
    for _ in range(3 * BODIES_IN_MEMORY):
        with pytest.raises(NoStepInTime):
            read(reader, receiving(), 10)
        with pytest.raises(Cancelled):
            read(reader, receiving(b"12", hang_up=True), 10)
        with pytest.raises(RequestTooLarge):
            read(reader, receiving(b"12345678901"), None)
    assert read(reader, receiving(b"1234567890"), 10) == b"1234567890"
