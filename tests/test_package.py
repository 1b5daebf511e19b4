"""The names that users import."""

import pyterrier_taskarith


def test_every_public_name_is_there_and_no_other_is_promised():
    for name in pyterrier_taskarith.__all__:
        assert getattr(pyterrier_taskarith, name).__name__ == name
    assert set(pyterrier_taskarith.__all__) == set(pyterrier_taskarith._MODULE_OF) <= set(dir(pyterrier_taskarith))
    assert not hasattr(pyterrier_taskarith, "no_such_name")
