"""The form of a file of evidence: canonical JSON, the chain of entries, and what breaks it."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.security.evidence import (
    GENESIS,
    EvidenceBroken,
    EvidenceBuilder,
    EvidenceKind,
    canonical,
    key_id,
    read_evidence,
)

Json = dict[str, Any]
PUBLIC_KEY = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"  # RFC 8032, 7.1
SIGNATURE = bytes(range(64))
FACTS: Json = {
    "event_id": "evt_1",
    "project_id": "prj_1",
    "installation_id": "ins_1",
    "made_at": "2026-11-23T12:00:00.000Z",
    "made_by": "makegood 1",
    "key": {"id": key_id(PUBLIC_KEY), "algorithm": "Ed25519", "public_key": PUBLIC_KEY},
}
CONTENTS: tuple[tuple[EvidenceKind, Json], ...] = (
    (EvidenceKind.EVENT, {"state": "recovered", "amount": 4200}),
    (EvidenceKind.RESULT, {"status": "failed", "error_message": "kaputt: ü, \u20ac, \U0001f4b8"}),
    (EvidenceKind.RESULT, {"status": "success", "error_message": None}),
)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


def built(contents: tuple[tuple[EvidenceKind, Json], ...] = CONTENTS, **facts: object) -> bytes:
    builder = EvidenceBuilder()
    for kind, content in contents:
        builder.add(kind, content)
    return builder.file(builder.statement(**{**FACTS, **facts}), SIGNATURE)


def rewritten(change: Callable[[Json], object]) -> bytes:
    """The file after a change by somebody who writes canonical JSON and computes no hash again."""
    document: Json = json.loads(built())
    change(document)
    return canonical(document) + b"\n"


def test_canonical_json_is_that_of_rfc_8785() -> None:
    """The example of its section 3.2.3, without the numbers that are no integers."""
    value = {
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"\u002f",
        "literals": [None, True, False],
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }

    assert list(json.loads(canonical(value))) == [
        *("\r", "1", "literals", "string", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33")
    ]
    shown = {name: value[name] for name in ("string", "literals")}
    expected = r"""{"literals":[null,true,false],"string":"€$\u000f\nA'B\"\\\\\"/"}"""
    assert canonical(shown) == expected.encode()


@pytest.mark.parametrize("value", [1.0, float("nan"), 2**53, -(2**53), "\ud800", {"a": [0.5]}])
def test_value_that_parsers_read_differently_has_no_canonical_form(value: object) -> None:
    with pytest.raises(ValueError, match=r".*"):
        canonical(value)


def test_entries_are_chained_by_the_hash_of_the_one_before() -> None:
    document = json.loads(built())

    before = GENESIS
    for number, entry in enumerate(document["entries"], 1):
        hashed = {name: value for name, value in entry.items() if name != "hash"}
        assert (entry["number"], entry["previous_hash"]) == (number, before)
        assert entry["hash"] == hashlib.sha256(canonical(hashed)).hexdigest()
        before = entry["hash"]
    assert document["head"] == before
    assert [entry["content"] for entry in document["entries"]] == [value for _, value in CONTENTS]


def test_file_is_canonical_json_and_one_line_feed() -> None:
    file = built()

    assert file == canonical(json.loads(file)) + b"\n"
    assert file.count(b"\n") == 1


@given(content=st.dictionaries(ANY_TEXT, ANYTHING, max_size=5))
def test_any_content_makes_a_file_that_can_be_read(content: Json) -> None:
    """Numbers and texts that canonical JSON cannot hold are replaced, never left out."""
    evidence = read_evidence(built(((EvidenceKind.EVENT, content),)))

    assert (evidence.entries, evidence.event_id, evidence.public_key) == (1, "evt_1", PUBLIC_KEY)


def test_statement_covers_everything_but_entries_and_signature() -> None:
    evidence = read_evidence(built())

    statement = json.loads(evidence.statement)
    assert statement == {"format": "makegood-evidence/1", "head": evidence.head, **FACTS}
    assert evidence.signature == SIGNATURE


CHANGES: dict[str, tuple[Callable[[Json], object], int | None, str]] = {
    "content": (
        lambda d: d["entries"][1]["content"].update(status="success"),
        *(2, "its content does not match its hash"),
    ),
    "kind": (lambda d: d["entries"][0].update(kind="alert"), 1, "does not match its hash"),
    "hash": (lambda d: d["entries"][2].update(hash=GENESIS), 3, "does not match its hash"),
    "removed": (lambda d: d["entries"].pop(1), 2, "its number does not follow"),
    "removed at the end": (lambda d: d["entries"].pop(), None, "last entries are missing"),
    "all removed": (lambda d: d["entries"].clear(), None, "last entries are missing"),
    "exchanged": (lambda d: d["entries"].reverse(), 1, "its number does not follow"),
    "renumbered": (
        lambda d: (d["entries"].pop(0), [e.update(number=e["number"] - 1) for e in d["entries"]]),
        *(1, "does not follow from the entry before"),
    ),
    "added": (
        lambda d: d["entries"].append({**d["entries"][2], "number": 4}),
        *(4, "does not follow from the entry before"),
    ),
    "field of an entry": (lambda d: d["entries"][1].update(note="x"), 2, "other fields"),
    "no entry": (lambda d: d["entries"].append("x"), 4, "other fields"),
    "number as text": (lambda d: d["entries"][0].update(number="1"), 1, "its number"),
    "head": (lambda d: d.update(head=GENESIS), None, "`head` was changed"),
    "format": (lambda d: d.update(format="makegood-evidence/2"), None, "its format is not"),
    "added fact": (lambda d: d.update(note="x"), None, "not a file of evidence"),
    "missing fact": (lambda d: d.pop("made_at"), None, "not a file of evidence"),
    "no entries": (lambda d: d.update(entries={}), None, "not a file of evidence"),
    "fact of another type": (lambda d: d.update(event_id=7), None, "`event_id` is not text"),
    "no signature": (lambda d: d.pop("signature"), None, "not 128 hex digits"),
    "upper case": (
        lambda d: d.update(signature=d["signature"].upper()),
        *(None, "not 128 hex digits"),
    ),
    "another algorithm": (lambda d: d["key"].update(algorithm="none"), None, "not of Ed25519"),
    "another key": (
        lambda d: d["key"].update(public_key=GENESIS),
        *(None, "does not match its public key"),
    ),
    "short key": (lambda d: d["key"].update(public_key="d75a"), None, "not 64 hex digits"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_change_is_found_and_the_first_broken_entry_named(change: str) -> None:
    act, entry, problem = CHANGES[change]

    with pytest.raises(EvidenceBroken, match=problem) as broken:
        read_evidence(rewritten(act))

    assert broken.value.entry == entry


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "indented": lambda file: json.dumps(json.loads(file), indent=2).encode(),
    "with spaces": lambda file: json.dumps(json.loads(file)).encode() + b"\n",
    "escaped": lambda file: canonical(json.loads(file)).replace("ü".encode(), b"\\u00fc") + b"\n",
    "without its line feed": lambda file: file[:-1],
    "with a second line feed": lambda file: file + b"\n",
    "with a byte order mark": lambda file: b"\xef\xbb\xbf" + file,
    "in UTF-16": lambda file: file.decode().encode("utf-16"),
    "with a repeated name": lambda file: file.replace(b'{"entries"', b'{"entries":[],"entries"'),
    "with an integer as a fraction": lambda file: file.replace(b":4200", b":4200.0"),
    "with a number as a power": lambda file: file.replace(b":4200", b":42e2"),
    "nested without end": lambda _: b"[" * 100_000,
    "a number without end": lambda _: b"9" * 10_000,
    "a list": lambda _: b"[]\n",
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("form", FORMS)
def test_other_form_of_the_same_values_is_found(form: str) -> None:
    with pytest.raises(EvidenceBroken):
        read_evidence(FORMS[form](built()))
