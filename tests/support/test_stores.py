"""What `make test` runs above the store: SQLite, and both stores where a test asks for them."""

from pathlib import Path

import pytest

from tests.support.stores import is_repeated_on_another_store

AS_PARAMETER = '@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)\n'


@pytest.mark.parametrize(
    ("folder", "marks", "repeated"),
    [
        ("api", "", ["test_it[postgresql]"]),
        ("api", "@pytest.mark.both_stores\n", []),
        ("api", AS_PARAMETER, []),
        ("store", "", []),
    ],
    ids=["above the store", "both stores", "named by the test", "store"],
)
def test_second_store_is_a_repetition_above_the_store_only(
    pytester: pytest.Pytester, folder: str, marks: str, repeated: list[str]
) -> None:
    pytester.makeconftest(
        "import pytest\n"
        "def pytest_configure(config):\n"
        "    config.addinivalue_line('markers', 'both_stores: ')\n"
        "@pytest.fixture(params=['sqlite', 'postgresql'])\n"
        "def database_url(request):\n"
        "    return request.param\n"
    )
    path = pytester.path / "tests" / folder / "test_it.py"
    path.parent.mkdir(parents=True)
    path.write_text(f"import pytest\n\n{marks}def test_it(database_url):\n    pass\n")

    items, _ = pytester.inline_genitems(str(path.relative_to(Path(pytester.path))))

    assert [item.name for item in items if is_repeated_on_another_store(item)] == repeated
