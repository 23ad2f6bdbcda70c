"""One form of an e-mail address: made when it is saved, stored, and compared and sent in that form.

It is what every mail server takes, without SMTPUTF8: an ASCII local part without quotes, and the domain's
A-label. Lengths are those of RFC 5321. Called where addresses are saved, and again before one is sent to, since
earlier versions stored more.
"""

from email_validator import EmailNotValidError, validate_email

LONGEST_ADDRESS = 254
LONGEST_LOCAL_PART = 64
NO_ADDRESS = "Must be an e-mail address."
NOT_ASCII = "The part before the @ may only have ASCII characters: mail servers refuse others."
LOCAL_PART_TOO_LONG = f"The part before the @ has at most {LONGEST_LOCAL_PART} characters."


class AddressRefused(ValueError):
    """No mail server takes the address; the message says why and does not repeat it."""


def canonical_address(text: str) -> str:
    """The address as it is stored and sent to: the local part as given, the domain in lower case as its A-label.

    Domains of one's own network count. Whether somebody reads mail there is for the mail server to say.

    Raises:
        AddressRefused: no mail server takes it.
    """
    local, at, domain = text.rpartition("@")
    # Cheap bounds first: the library's own work grows with the length.
    if not at or not local or not domain or len(text) > 2 * LONGEST_ADDRESS:
        raise AddressRefused(NO_ADDRESS)
    if not local.isascii():
        raise AddressRefused(NOT_ASCII)
    if len(local) > LONGEST_LOCAL_PART:
        raise AddressRefused(LOCAL_PART_TOO_LONG)
    # A header's reader may take `=?` for the beginning of an encoded word.
    if "=?" in local:
        raise AddressRefused(NO_ADDRESS)
    try:
        found = validate_email(
            text,
            allow_smtputf8=False,
            allow_quoted_local=False,
            allow_domain_literal=False,
            allow_display_name=False,
            check_deliverability=False,
            test_environment=True,
            globally_deliverable=False,
        )
    except (EmailNotValidError, ValueError):
        raise AddressRefused(NO_ADDRESS) from None
    address = f"{local}@{found.ascii_domain.lower()}"
    if len(address) > LONGEST_ADDRESS or not address.isascii():
        raise AddressRefused(NO_ADDRESS)
    return address


def same_address(one: str, other: str) -> bool:
    """Whether both are sent to the same mailbox. What has no canonical form is only the same as itself."""
    return one == other or _canonical_or_given(one) == _canonical_or_given(other)


def _canonical_or_given(text: str) -> str:
    try:
        return canonical_address(text)
    except AddressRefused:
        return text
