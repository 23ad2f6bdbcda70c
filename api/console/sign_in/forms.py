"""Parses the forms of the console: one media type, a bounded number of fields, no NUL."""

from urllib.parse import parse_qsl

from starlette.requests import Request

FORM_TYPE = "application/x-www-form-urlencoded"
MAXIMUM_FORM_FIELDS = 50


class FormRejected(Exception):
    """The form is unreadable, comes from another site, or lacks the token of this session."""


async def parse_form(request: Request) -> dict[str, str]:
    """Parse a form without NUL characters. Values of a repeated name are joined by a space.

    Raises:
        FormRejected: another media type, or too many fields.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_TYPE:
        raise FormRejected
    text = (await request.body()).decode("utf-8", errors="replace")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAXIMUM_FORM_FIELDS)
    except ValueError:  # too many fields
        raise FormRejected from None
    fields: dict[str, str] = {}
    for name, value in pairs:
        clean = value.replace("\0", "")
        fields[name] = f"{fields[name]} {clean}" if name in fields else clean
    return fields
