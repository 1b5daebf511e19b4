"""The rows of a family's tables as parameters, and each row's folders, made once a family."""

from __future__ import annotations

import pytest


def pytest_generate_tests(metafunc):
    """Gives a family's tests the rows that they ask for, with the hazard as id."""
    if metafunc.cls is None:
        return
    rows = metafunc.cls.rows
    chosen = {"row": rows, "first_row": rows[:1], "scored_row": [row for row in rows if row.scored],
              "refused_row": metafunc.cls.refused}
    for name, some in chosen.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, [pytest.param(row, id=row.hazard, marks=row.marks) for row in some])


@pytest.fixture(scope="class")
def case(request, tmp_path_factory):
    """Gives the case of a row; read only."""
    known = {}

    def get(row):
        if row.hazard not in known:
            known[row.hazard] = request.cls.case_of(row, tmp_path_factory.mktemp(request.cls.name))
        return known[row.hazard]

    return get


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """Hashes remembered by one test are unknown to the next."""
    monkeypatch.setenv("TASKARITH_HOME", str(tmp_path / "taskarith-home"))
