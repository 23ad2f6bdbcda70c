"""One form of an e-mail address: made when it is saved, stored, and compared and sent in that form.

It is what every mail server takes, without SMTPUTF8: a dot-atom of ASCII before the @, and the domain's A-label
after it. Lengths are those of RFC 5321. Called where addresses are saved, and again before one is sent to, since
earlier versions stored more.
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
# The last label is no number: that would be an IP address, which mail servers take in brackets alone.
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)*(?!\d+\Z){_LABEL}")


class AddressRefused(ValueError):
    """No mail server takes the address; the message says why and does not repeat it."""


def canonical_address(text: str) -> str:
    """The address as it is stored and sent to: the local part as given, the domain in lower case as its A-label.

    Domains of one's own network count. Whether somebody reads mail there is for the mail server to say.

    Raises:
        AddressRefused: no mail server takes it.
    """
    local, at, domain = text.rpartition("@")
    # Bounded first, so that what follows is cheap.
    if not at or len(text) > LONGEST_ADDRESS:
        raise AddressRefused(NO_ADDRESS)
    if not local.isascii():
        raise AddressRefused(NOT_ASCII)
    if len(local) > LONGEST_LOCAL_PART:
        raise AddressRefused(LOCAL_PART_TOO_LONG)
    address = f"{local}@{_a_label(domain)}"
    # A header's reader may take `=?` for the beginning of an encoded word.
    if not _LOCAL_PART.fullmatch(local) or "=?" in local or len(address) > LONGEST_ADDRESS:
        raise AddressRefused(NO_ADDRESS)
    return address


def sign_in_address(text: str) -> str:
    """The spelling by which a person is known: the canonical form in lower case; what has none, as it is in lower case."""
    return _canonical_or_given(text.strip()).lower()


def spellings(text: str) -> tuple[str, ...]:
    """Every spelling under which a person with this address may be stored: earlier versions kept domains as given."""
    return tuple(dict.fromkeys((sign_in_address(text), text.strip().lower())))


def same_address(one: str, other: str) -> bool:
    """Whether both are sent to the same mailbox. What has no canonical form is only the same as itself."""
    return one == other or _canonical_or_given(one) == _canonical_or_given(other)


def _a_label(domain: str) -> str:
    try:
        # Of what is ASCII already nothing is judged but its characters: more names are in use than IDNA allows.
        ascii_domain = domain if domain.isascii() else idna.encode(domain, uts46=True, std3_rules=True).decode("ascii")
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
