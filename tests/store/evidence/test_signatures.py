"""The signature of evidence: each byte of a file is covered, and the signer is who is trusted."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.security.evidence import EvidenceBuilder, EvidenceKind, canonical, key_id
from store.evidence.signatures import new_private_key, public_key_of, sign, verify_evidence

# RFC 8032, 7.1, TEST 3.
RFC_KEY = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
RFC_PUBLIC = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
RFC_SIGNATURE = (
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
    "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
)
PRIVATE_KEY = bytes(range(32))
LETTERS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def signed(contents: list[dict[str, Any]], private_key: bytes = PRIVATE_KEY) -> bytes:
    builder, public_key = EvidenceBuilder(), public_key_of(private_key)
    for content in contents:
        builder.add(EvidenceKind.TIMELINE, content)
    statement = builder.statement(
        event_id="evt_1",
        project_id="prj_1",
        installation_id="ins_1",
        made_at="2026-11-23T12:00:00.000Z",
        made_by="makegood 1",
        key={"id": key_id(public_key), "algorithm": "Ed25519", "public_key": public_key},
    )
    return builder.file(statement, sign(private_key, canonical(statement)))


FILE = signed([{"at": "2026-11-23T12:00:00.000Z", "kind": "noted", "text": "größer"}, {"n": 1}])


def test_signature_is_that_of_rfc_8032() -> None:
    assert public_key_of(RFC_KEY) == RFC_PUBLIC
    assert sign(RFC_KEY, bytes.fromhex("af82")).hex() == RFC_SIGNATURE


def test_intact_file_is_valid_and_its_signer_known_only_by_a_trusted_key() -> None:
    trusted = public_key_of(PRIVATE_KEY)

    unknown, known = (verify_evidence(FILE, public_keys=keys) for keys in ((), (trusted,)))

    assert unknown.evidence == known.evidence
    assert known.evidence is not None
    assert (known.evidence.event_id, known.evidence.entries) == ("evt_1", 2)
    assert (unknown.is_signer_known, known.is_signer_known) == (False, True)


def test_each_changed_byte_of_a_file_is_found() -> None:
    """Every byte in turn, one bit of it and one other value."""
    draw, missed = random.Random(1), []
    for position in range(len(FILE)):
        for change in {1 << draw.randrange(8), draw.randrange(1, 256)}:
            changed = bytearray(FILE)
            changed[position] ^= change
            if verify_evidence(bytes(changed), public_keys=()).problem is None:
                missed.append((position, change))

    assert missed == []


@settings(max_examples=200)
@given(
    contents=st.lists(
        st.dictionaries(LETTERS, LETTERS | st.integers() | st.none()), min_size=1, max_size=4
    ),
    draw=st.data(),
)
def test_change_of_any_byte_of_any_file_is_found(
    contents: list[dict[str, Any]], draw: st.DataObject
) -> None:
    file = signed(contents)
    position = draw.draw(st.integers(0, len(file) - 1))
    change = draw.draw(st.sampled_from(["exchanged", "removed", "inserted"]))
    byte = bytes([draw.draw(st.integers(0, 255))])
    kept = file[:position], file[position + (change != "inserted") :]
    changed = kept[0] + (b"" if change == "removed" else byte) + kept[1]

    verdict = verify_evidence(changed, public_keys=())

    assert (verdict.problem is None) == (changed == file)


def test_file_that_somebody_else_signed_again_is_refused_for_the_trusted_key() -> None:
    """All hashes and the signature match: only the key tells."""
    forged = signed([{"status": "success"}], private_key=new_private_key())

    verdict = verify_evidence(forged, public_keys=[public_key_of(PRIVATE_KEY)])

    assert verify_evidence(forged, public_keys=()).problem is None
    assert verdict.problem is not None
    assert verdict.problem.startswith("it was signed by another key, evk_")


def test_public_key_that_is_no_point_of_the_curve_is_a_verdict() -> None:
    document, bad = json.loads(FILE), "ff" * 32
    document["key"] = {"id": key_id(bad), "algorithm": "Ed25519", "public_key": bad}

    verdict = verify_evidence(canonical(document) + b"\n", public_keys=[bad])

    assert verdict.problem == (
        "its signature does not match: something outside of its entries was changed"
    )


def test_file_is_verified_without_makegood(tmp_path: Path) -> None:
    """By the program that docs/evidence.md prints."""
    page = (Path(__file__).parents[3] / "docs" / "evidence.md").read_text()
    (program,) = [part.split("```")[0] for part in page.split("```python\n")[1:]]
    script, good, bad = tmp_path / "verify.py", tmp_path / "good.json", tmp_path / "bad.json"
    script.write_text(program)
    good.write_bytes(FILE)
    bad.write_bytes(FILE.replace(b"noted", b"Noted"))

    def run(file: Path, public_key: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", script, file, public_key],
            capture_output=True,
            text=True,
            check=False,
        )

    trusted = public_key_of(PRIVATE_KEY)
    assert (run(good, trusted).returncode, run(good, trusted).stdout) == (0, "valid\n")
    assert run(bad, trusted).returncode == 1
    assert run(good, RFC_PUBLIC).returncode == 1


def test_signing_twice_gives_the_same_file() -> None:
    assert signed([{"n": 1}]) == signed([{"n": 1}])


@pytest.mark.parametrize("length", [0, 31, 33])
def test_private_key_of_another_length_is_an_error(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        sign(bytes(length), b"")
