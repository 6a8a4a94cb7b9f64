"""Every backend of the table passes the contract suite."""

from collections.abc import Iterator

import pytest

from sdenv.backends import ROWS
from sdenv.core.backend import Backend
from sdenv.testing.contracts import BackendContract
from tests.support.backends import FACTORIES


def test_every_row_of_the_table_is_tested() -> None:
    assert set(FACTORIES) == set(ROWS)


@pytest.fixture(scope="module", params=sorted(FACTORIES))
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """One backend for all tests of a row: a model is loaded once."""
    with FACTORIES[request.param](tmp_path_factory.mktemp(request.param)) as made:
        yield made


class TestEveryBackend(BackendContract):
    @pytest.fixture
    def backend(self, shared: Backend) -> Backend:
        return shared
