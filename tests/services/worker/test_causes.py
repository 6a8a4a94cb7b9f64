"""Why a child was lost: exact, and without a word about the machine that it ran on."""

import pytest

from sdenv.services.worker.causes import cause_of_end, last_words, loss

CRASH = """Fatal Python error: Segmentation fault

Thread 0x00007f1 (most recent call first):
  File "/home/ann/sdenv/worker.py", line 3 in wait
Current thread 0x00007f2 (most recent call first):
  File "/home/ann/model.py", line 9 in forward

Extension modules: numpy, torch._C (total: 2)"""

RAISED = """loading
Traceback (most recent call last):
  File "/home/ann/model.py", line 9, in forward
    raise RuntimeError("CUDA error")
RuntimeError: CUDA error: an illegal memory access was encountered"""


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "It has ended by itself, with exit code 0."),
        (-6, "It has crashed or was killed (SIGABRT)."),
        (-9, "It was killed (SIGKILL) by somebody or by the system, perhaps because it ran out of memory."),
        (-64, "It has crashed or was killed (SIGRTMAX)."),
        (-99, "It has crashed or was killed (signal 99)."),
        (None, "It can neither go on nor be ended; perhaps the driver of a device hangs."),
    ],
)
def test_the_end_of_a_process_is_told_in_words(code: int | None, text: str) -> None:
    assert cause_of_end(code) == text


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        (CRASH, "Fatal Python error: Segmentation fault"),
        (RAISED, "RuntimeError: CUDA error: an illegal memory access was encountered"),
        (RAISED.rpartition("\n")[0], "loading"),
        (CRASH.partition("\n")[2], ""),
        ("  \n\n", ""),
        ("", ""),
        ("x" * 1000, "x" * 200),
    ],
)
def test_the_last_words_are_the_line_that_says_most(stderr: str, words: str) -> None:
    assert last_words(stderr.splitlines()) == words


def test_a_child_that_said_nothing_has_no_last_words() -> None:
    assert loss("It is gone.", "") == "It is gone."
    assert loss("It is gone.", "ouch") == "It is gone. Its last words: ouch"
