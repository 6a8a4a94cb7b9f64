"""What talks to servers is imported by the commands that talk to servers, and by no other."""

import json
import subprocess
import sys

import pytest

_PROBE = """
import json, sys
from sdenv.cli import run
code = run(sys.argv[1:])
sys.stderr.write(json.dumps({"code": code, "modules": sorted(sys.modules)}))
"""


@pytest.mark.parametrize("arguments", [["generate", "a cat", "--dry-run", "-b", "fake"], ["backends"]])
def test_a_command_that_talks_to_nobody_imports_no_client(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    told = json.loads(done.stderr.splitlines()[-1])
    assert told["code"] == 0
    assert {"sdenv.net.session", "http.client", "ssl", "httpx2"} & set(told["modules"]) == set()


def test_the_client_of_servers_needs_no_other_http_library() -> None:
    script = "import sdenv.backends.http, sys; print('httpx2' in sys.modules, 'anyio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
