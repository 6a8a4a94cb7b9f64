"""The suites that every backend and every front end passes; a plug-in's tests inherit them too.

A test file needs no more than this:

    from sdenv.testing.contracts import BackendContract

    class TestMine(BackendContract):
        @pytest.fixture
        def backend(self) -> Backend:
            return MyBackend(MySettings())
"""

import sys

import pytest

_SUITES = ("sdenv.testing.backend_contract", "sdenv.testing.requests", "sdenv.testing.server_contract")

# Before they are imported, so that a failed promise shows the values that it compared.
pytest.register_assert_rewrite(*(name for name in _SUITES if name not in sys.modules))

from sdenv.testing.backend_contract import BackendContract  # noqa: E402 - see above
from sdenv.testing.server_contract import ServerContract  # noqa: E402 - see above

__all__ = ["BackendContract", "ServerContract"]
