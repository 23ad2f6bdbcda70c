"""The notice that shows recovery codes, once."""

from api.console.sign_in.cookies import Notice, Secret


def codes_notice(text: str, codes: tuple[str, ...]) -> Notice:
    """The notice after `text`, with the codes."""
    advice = "Store these recovery codes safely: each works once, and they are not shown again."
    secrets = tuple(
        Secret(f"Recovery code {number}", code) for number, code in enumerate(codes, start=1)
    )
    return Notice("good", f"{text} {advice}", secrets)
