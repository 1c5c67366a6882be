"""What several unit tests need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from saga_actors.actors.key import KEY_FILE_VARIABLE, load_key


@pytest.fixture(scope="module")
def own_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A key of the module's own, and not that of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_FILE_VARIABLE, str(tmp_path_factory.mktemp("key") / "key"))
        load_key.cache_clear()
        yield
    load_key.cache_clear()
