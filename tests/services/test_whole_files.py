"""Folders and files that appear whole, whoever else is at work."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sdenv.core.errors import SdenvError
from sdenv.services.whole_files import make_private_folder
from sdenv.testing.fakes import PATIENCE_S


def test_many_threads_may_make_the_same_private_folder_at_once(tmp_path: Path) -> None:
    """Two jobs that end in the same moment make the folder of their day."""
    barrier = threading.Barrier(8)

    def make(number: int) -> list[SdenvError]:
        failed: list[SdenvError] = []
        for name in range(50):
            barrier.wait(PATIENCE_S)
            try:
                make_private_folder(tmp_path / str(name) / "inner")
            except SdenvError as error:
                failed.append(error)
        return failed

    with ThreadPoolExecutor(8) as pool:
        assert [failed for failed in pool.map(make, range(8)) if failed] == []
