"""The canonical form of an e-mail address, in which it is stored, compared and used for sending.

It is a form that every mail server accepts without SMTPUTF8: an ASCII dot-atom before the @, and
the A-label of the domain after it, with the lengths of RFC 5321. Called when an address is saved,
and again before sending, because earlier versions stored other forms.
"""

import re

import idna

LONGEST_ADDRESS = 254
LONGEST_LOCAL_PART = 64
NO_ADDRESS = "Must be an e-mail address, such as name@example.com."
NOT_ASCII = "The part before the @ may only have ASCII characters: mail servers refuse others."
LOCAL_PART_TOO_LONG = f"The part before the @ has at most {LONGEST_LOCAL_PART} characters."

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL_PART = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last label is not a number: mail servers accept IP addresses only in brackets.
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)*(?!\d+\Z){_LABEL}")


class AddressRefused(ValueError):
    """The address is not accepted by every mail server.

    The message says why, without the address.
    """


def canonical_address(text: str) -> str:
    """The canonical form: the local part as given, and the A-label of the domain in lower case.

    Domains of a private network are accepted. Whether the mailbox exists is not checked.

    Raises:
        AddressRefused: it has no canonical form.
    """
    local, at, domain = text.rpartition("@")
    # The length is checked first, so that the rest is cheap.
    if not at or len(text) > LONGEST_ADDRESS:
        raise AddressRefused(NO_ADDRESS)
    if not local.isascii():
        raise AddressRefused(NOT_ASCII)
    if len(local) > LONGEST_LOCAL_PART:
        raise AddressRefused(LOCAL_PART_TOO_LONG)
    address = f"{local}@{_a_label(domain)}"
    # A mail reader may take `=?` in a header for the start of an encoded word.
    if not _LOCAL_PART.fullmatch(local) or "=?" in local or len(address) > LONGEST_ADDRESS:
        raise AddressRefused(NO_ADDRESS)
    return address


def sign_in_address(text: str) -> str:
    """The spelling that identifies a user: the canonical form in lower case, or the given text in
    lower case.
    """
    return _canonical_or_given(text.strip()).lower()


def spellings(text: str) -> tuple[str, ...]:
    """Every spelling under which a user may be stored: earlier versions stored domains as given."""
    return tuple(dict.fromkeys((sign_in_address(text), text.strip().lower())))


def same_address(one: str, other: str) -> bool:
    """Whether both are the same mailbox. A text without canonical form equals only itself."""
    return one == other or _canonical_or_given(one) == _canonical_or_given(other)


def _a_label(domain: str) -> str:
    try:
        # For an ASCII domain only the characters are checked: names in use go beyond what IDNA
        # allows.
        ascii_domain = (
            domain
            if domain.isascii()
            else idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")
        )
    except UnicodeError:
        raise AddressRefused(NO_ADDRESS) from None
    if not _DOMAIN.fullmatch(ascii_domain.lower()):
        raise AddressRefused(NO_ADDRESS)
    return ascii_domain.lower()


def _canonical_or_given(text: str) -> str:
    try:
        return canonical_address(text)
    except AddressRefused:
        return text
