"""What goes to Temporal keeps to its bounds, whatever it is."""

import json

from hypothesis import given
from hypothesis import strategies as st

from domain.texts import cut_encoded

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=600)


@given(ANY_TEXT, st.integers(8, 4_000), st.integers(1, 600))
def test_any_text_is_cut_to_its_encoded_size_and_no_further(text: str, most_bytes: int, most_characters: int) -> None:
    cut = cut_encoded(text, most_bytes=most_bytes, most_characters=most_characters)

    longer = cut_encoded(text, most_bytes=10**6, most_characters=10**6)[: len(cut) + 1]
    assert len(json.dumps(cut)) <= most_bytes
    assert len(cut) <= most_characters
    assert longer.startswith(cut)
    assert cut.isprintable()
    assert longer == cut or len(json.dumps(longer)) > most_bytes or len(longer) > most_characters


def test_an_emoji_counts_twelve_bytes() -> None:
    cut = cut_encoded("\N{FIRE}" * 200, most_bytes=2_000, most_characters=255)

    assert (len(cut), len(json.dumps(cut))) == (166, 1_994)
