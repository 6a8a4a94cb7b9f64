"""The suites that every backend and every front end passes; a plug-in's tests inherit them too.

from sdenv.testing.contracts import BackendContract

class TestMine(BackendContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return MyBackend(MySettings())
"""

import pytest

# Before they are imported, so that a failed promise shows the values it compared.
pytest.register_assert_rewrite(
    "sdenv.testing.backend_contract", "sdenv.testing.requests", "sdenv.testing.server_contract"
)

from sdenv.testing.backend_contract import BackendContract  # noqa: E402 - see above
from sdenv.testing.server_contract import ServerContract  # noqa: E402 - see above

__all__ = ["BackendContract", "ServerContract"]
