"""Evidence: the whole life of one event as one JSON file that anybody can verify offline.

1. The file is canonical JSON (RFC 8785, with integers only), and one line feed.
2. Each entry holds the hash of the entry before it, and its own: SHA-256 of its canonical JSON
   without `hash`.
3. `head` is the hash of the last entry. The signature covers the canonical JSON of everything
   except `entries` and `signature`, so it covers `head`, and `head` covers every entry.

Each byte is therefore covered by a hash, by the signature, or by the canonical form. This module
builds and reads the file. `store.evidence` has the keys, and makes and checks the signature.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from domain.values.text import well_formed

# Any, everywhere here: JSON values.
Json = dict[str, Any]

FORMAT = "makegood-evidence/1"
ALGORITHM = "Ed25519"
GENESIS = "0" * 64
LARGEST_INTEGER = 2**53 - 1  # what every JSON parser keeps exactly
_ENTRY = frozenset({"number", "kind", "content", "previous_hash", "hash"})
_STATEMENT = frozenset(
    {"format", "event_id", "project_id", "installation_id", "made_at", "made_by", "key", "head"}
)
_KEY = frozenset({"id", "algorithm", "public_key"})
_PUBLIC_KEY, _SIGNATURE = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{128}")


class EvidenceKind(StrEnum):
    """What an entry holds. The entries of a file are in the order of these kinds."""

    EVENT = "event"
    SIGHTING = "sighting"
    INCIDENT = "incident"
    RESULT = "result"
    REPAIR = "repair"
    ALERT = "alert"
    AUDIT = "audit"
    TIMELINE = "timeline"


class EvidenceBroken(Exception):
    """The file is not what was signed. `entry`: the number of the first broken entry; None when the
    problem is elsewhere.
    """

    def __init__(self, problem: str, entry: int | None = None) -> None:
        super().__init__(problem)
        self.problem, self.entry = problem, entry


@dataclass(frozen=True, slots=True)
class Evidence:
    """A file whose entries and form are intact. The signature is not checked yet.

    `statement` are the bytes that the signature covers.
    """

    event_id: str
    key_id: str
    public_key: str
    made_at: str
    head: str
    entries: int
    statement: bytes
    signature: bytes


class EvidenceBuilder:
    """Builds one file, entry by entry."""

    def __init__(self) -> None:
        self.head = GENESIS
        self._entries: list[bytes] = []

    @property
    def entries(self) -> int:
        """How many entries the file has so far."""
        return len(self._entries)

    def add(self, kind: EvidenceKind, content: Mapping[str, object]) -> None:
        """Add an entry. `content` are JSON values."""
        entry = {
            "number": len(self._entries) + 1,
            "kind": kind.value,
            "content": _storable(content),
            "previous_hash": self.head,
        }
        self.head = _entry_hash(entry)
        self._entries.append(canonical({**entry, "hash": self.head}))

    def statement(self, **facts: object) -> Json:
        """What is signed: the head, and these facts about the file."""
        return {"format": FORMAT, "head": self.head, **facts}

    def file(self, statement: Json, signature: bytes) -> bytes:
        """The whole file. `signature` covers `canonical(statement)`."""
        rest = canonical({**statement, "signature": signature.hex()})
        # "entries" is before every other name, so it comes first in canonical JSON.
        return b'{"entries":[' + b",".join(self._entries) + b"]," + rest[1:] + b"\n"


def key_id(public_key: str) -> str:
    """The id of an Ed25519 public key, given as 64 hex digits: `evk_` and 32 digits of its hash."""
    return f"evk_{hashlib.sha256(bytes.fromhex(public_key)).hexdigest()[:32]}"


def is_public_key(text: str) -> bool:
    """Whether the text has the form of a public key: 64 lowercase hex digits."""
    return _PUBLIC_KEY.fullmatch(text) is not None


def canonical(value: object) -> bytes:
    """The value as canonical JSON in UTF-8 (RFC 8785).

    Raises: ValueError for a fraction, an integer that not every parser keeps, and text that cannot
        be encoded.
    """
    return json.dumps(
        _ordered(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False
    ).encode()


def read_evidence(file: bytes) -> Evidence:
    """Check everything but the signature.

    Raises: EvidenceBroken.
    """
    document = _parsed(file)
    entries, signature = document.pop("entries", None), document.pop("signature", None)
    if not isinstance(entries, list) or set(document) != _STATEMENT:
        raise EvidenceBroken("it is not a file of evidence, or one of another version")
    if document["format"] != FORMAT:
        raise EvidenceBroken(f"its format is not {FORMAT}")
    head = _follow(entries)
    if document["head"] != head:
        raise EvidenceBroken("its last entries are missing, or `head` was changed")
    if not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature):
        raise EvidenceBroken("its signature is not 128 hex digits")
    public_key = _public_key(document["key"])
    whole = {**document, "entries": entries, "signature": signature}
    if _canonical_or_broken(whole) + b"\n" != file:
        raise EvidenceBroken("its form was changed: a program wrote it again, or bytes were added")
    return Evidence(
        event_id=_text(document, "event_id"),
        key_id=key_id(public_key),
        public_key=public_key,
        made_at=_text(document, "made_at"),
        head=head,
        entries=len(entries),
        statement=_canonical_or_broken(document),
        signature=bytes.fromhex(signature),
    )


def _parsed(file: bytes) -> Json:
    try:
        document = json.loads(
            file.decode(), parse_float=_refuse_number, parse_constant=_refuse_number
        )
    except (ValueError, RecursionError):
        raise EvidenceBroken("it is not JSON in UTF-8 with integers only") from None
    if not isinstance(document, dict):
        raise EvidenceBroken("it is not a JSON object")
    return document


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(text)


def _follow(entries: list[Any]) -> str:
    """Follow the chain from its first entry. Returns the hash of the last one.

    Raises: EvidenceBroken.
    """
    head = GENESIS
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or set(entry) != _ENTRY:
            raise EvidenceBroken("it has other fields than an entry", number)
        if entry["number"] != number:
            raise EvidenceBroken("its number does not follow from the one before", number)
        if entry["previous_hash"] != head:
            raise EvidenceBroken("it does not follow from the entry before", number)
        unhashed = {name: value for name, value in entry.items() if name != "hash"}
        head = _entry_hash_or_broken(unhashed, number)
        if entry["hash"] != head:
            raise EvidenceBroken("its content does not match its hash", number)
    return head


def _entry_hash(entry: Json) -> str:
    return hashlib.sha256(canonical(entry)).hexdigest()


def _entry_hash_or_broken(entry: Json, number: int) -> str:
    try:
        return _entry_hash(entry)
    except (ValueError, RecursionError):
        raise EvidenceBroken("it cannot be written as canonical JSON", number) from None


def _canonical_or_broken(value: object) -> bytes:
    try:
        return canonical(value)
    except (ValueError, RecursionError):
        raise EvidenceBroken("it cannot be written as canonical JSON") from None


def _public_key(key: object) -> str:
    """The public key of the file. Raises: EvidenceBroken."""
    if not isinstance(key, dict) or set(key) != _KEY or key["algorithm"] != ALGORITHM:
        raise EvidenceBroken(f"its key is not of {ALGORITHM}")
    public_key = key["public_key"]
    if not isinstance(public_key, str) or not is_public_key(public_key):
        raise EvidenceBroken("its public key is not 64 hex digits")
    if key["id"] != key_id(public_key):
        raise EvidenceBroken("the id of its key does not match its public key")
    return public_key


def _text(document: Json, name: str) -> str:
    value = document[name]
    if not isinstance(value, str):
        raise EvidenceBroken(f"`{name}` is not text")
    return value


def _ordered(value: object) -> object:
    """The value with names in order, by their UTF-16 code units. Raises: ValueError."""
    if isinstance(value, Mapping):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return {name: _ordered(value[name]) for name in names}
    if isinstance(value, list | tuple):
        return [_ordered(item) for item in value]
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int) and abs(value) <= LARGEST_INTEGER:
        return value
    raise ValueError(f"no canonical JSON: {type(value).__name__}")


def _storable(value: object) -> object:
    """The value as canonical JSON can hold it: other numbers become text, text is well-formed."""
    if isinstance(value, Mapping):
        return {well_formed(name, characters=len(name)): _storable(value[name]) for name in value}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    if isinstance(value, str):
        return well_formed(value, characters=len(value))
    is_exact = isinstance(value, int) and abs(value) <= LARGEST_INTEGER
    return value if value is None or is_exact else str(value)
