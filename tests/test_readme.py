"""The README shows what the tests run:

each snippet is its file's text. That its links lead somewhere is `test_docs`'s.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"<!-- (sdks/\S+) -->\n```\w+\n(.*?)```", README, flags=re.DOTALL)


def test_every_language_shows_receipt_result_and_repair_endpoint() -> None:
    shown = {path for path, _ in SNIPPETS}

    examples = {
        str(path.relative_to(ROOT)) for path in ROOT.glob("sdks/*/examples/*") if path.is_file()
    }
    assert shown == examples
    assert len(shown) == 9


@pytest.mark.parametrize(("path", "text"), SNIPPETS, ids=[path for path, _ in SNIPPETS])
def test_snippet_is_the_file_that_the_tests_run(path: str, text: str) -> None:
    assert text == (ROOT / path).read_text()
