"""What the tests of folders share."""

import pytest
from folder_support import fill


@pytest.fixture
def pets(tmp_path):
    return fill(tmp_path / "My Pets!", {"cat": 10, "dog": 20, "ant": 10, "bee": 3})
