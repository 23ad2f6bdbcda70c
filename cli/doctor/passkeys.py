"""The doctor's check of passkeys: whether they belong to the host name of the public URL."""

from api.console.sign_in.relying_party import relying_party
from cli.doctor.findings import Finding, ok, warn
from config.settings import Settings
from store.db.database import Database
from store.people.passkeys import count_passkeys_of_other_hosts


async def check_passkeys(database: Database, settings: Settings) -> Finding:
    """Whether people have passkeys that no longer work, because the host name has changed."""
    party = relying_party(settings.public_url_or_default)
    host = "" if party is None else party.id
    async with database.reading() as session:
        others = await count_passkeys_of_other_hosts(session, host)
    if not others:
        return ok("all belong to the host name of the public URL")
    detail = f"{others} belong to another host name than the public URL, and do not work there"
    fix = (
        "set MAKEGOOD_PUBLIC_URL back, or let their owners sign in with a recovery code and add"
        " new ones; `makegood user remove-passkeys USER` helps who has no code"
    )
    return warn(detail, fix=fix)
