"""Raw connections to PostgreSQL: the choice of host, and the settings of each transaction.

Settings of a transaction are sent in the same round trip as its BEGIN. So they also hold behind a
pooler, such as PgBouncer in transaction mode, that gives every transaction another server
connection. A pooler is detected, and then no statement stays prepared between transactions. Used by
`store.db.pools`, the ingest connection and the worker's listener.
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

CONNECT_SECONDS = 10
# For each of several hosts: a host that is gone must not use up the time of the others.
HOST_SECONDS = 3
STATEMENT_SECONDS = 30
# A connection to a node that cannot write serves reads until this age. Then it looks for the
# primary.
STANDBY_SECONDS = 2.0
# A commit is on disk before it is acknowledged, even if cluster, database or role turn that off.
# Other settings stay: `remote_apply`, `remote_write`, and `local`, which waits for this server's
# disk.
DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', true) WHERE"
    " current_setting('synchronous_commit') = 'off'"
)
# A statement with a time limit uses one processor and no JIT, which would delay many short ones.
ONE_PROCESS = "SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off"
# The server soon ends an idle transaction: others wait for the rows it locked.
IDLE_LIMIT = "idle_in_transaction_session_timeout = '15s'"
# The server also ends a session whose host is gone. A pooler refuses these at the start of a
# session, so they are set afterwards.
SESSION = (
    f"SET {IDLE_LIMIT}; SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5;"
    " SET tcp_keepalives_count = 3"
)
# An option of the URL: `pooler=transaction` declares a pooler that cannot be detected.
POOLER_OPTION = "pooler"
# A statement that was prepared in another server session, or that another client has prepared.
_SHARED_SESSION = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)


class Connection(asyncpg.Connection):  # type: ignore[misc]  # not generic at run time
    """A connection that adds `at_begin` to each BEGIN.

    `expires_at` is None for a connection that can write. `is_pooled`: each transaction may use
    another server connection, so nothing may be kept between transactions.
    """

    at_begin: str = DURABLE
    expires_at: float | None = None
    is_pooled: bool = False
    made_in: int = 0  # the `store.db.pools.Generation` in which it was made

    # Any: asyncpg's own signature.
    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        if not args and query.startswith("BEGIN"):
            limit = f"SET LOCAL {IDLE_LIMIT}" if self.is_pooled else ""
            query = "; ".join(filter(None, (query.rstrip("; "), limit, self.at_begin)))
        status: str = await super().execute(query, *args, timeout=timeout)
        return status

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and time.monotonic() > self.expires_at


async def connect_postgres(
    url: str,
    *,
    statement_seconds: float | None = STATEMENT_SECONDS,
    at_begin: str = DURABLE,
    may_be_standby: bool = False,
) -> Connection:
    """Connect to the host that can write.

    asyncpg parses the URL itself, so sockets and `sslmode` work as in libpq.

    `may_be_standby`: if no host can write, use one that can be read, for `STANDBY_SECONDS`.

    Raises: `store.db.errors.BROKEN`.
    """
    try:
        connection = await _connect(url, "read-write", statement_seconds)
    except asyncpg.TargetServerAttributeNotMatched:
        if not may_be_standby:
            raise
        connection = await _connect(url, "any", statement_seconds)
        connection.expires_at = time.monotonic() + STANDBY_SECONDS
    connection.at_begin = at_begin
    return connection


async def _connect(url: str, attributes: str, statement_seconds: float | None) -> Connection:
    """Connect to the first host that fits, in the order of the URL.

    Raises: the last error of a host that answered but does not fit; else that of the first host.
    """
    hosts = each_host(url)
    seconds = CONNECT_SECONDS if len(hosts) == 1 else HOST_SECONDS
    failure: Exception | None = None
    for host in hosts:
        try:
            return await _connect_to(host, attributes, statement_seconds, seconds)
        except asyncpg.TargetServerAttributeNotMatched as error:
            failure = error
        except (OSError, asyncpg.PostgresError) as error:
            # "Cannot write" of a host that answered is more useful than the error of one that is
            # gone.
            failure = failure or error
    raise failure or OSError("the URL names no host")


async def _connect_to(
    host: str, attributes: str, statement_seconds: float | None, seconds: float
) -> Connection:
    url, is_declared = _without_pooler_option(host)
    open_session = partial(_open_session, url, statement_seconds, seconds)
    connection = None if is_declared else await _open_unpooled(open_session, attributes)
    if connection is not None:
        await connection.execute(SESSION)
        return connection
    # The pooler chooses the server. One that cannot write refuses the first write.
    connection = await open_session("any", statement_cache_size=0)
    connection.is_pooled = True
    return connection


async def _open_unpooled(
    open_session: Callable[..., Awaitable[Connection]], attributes: str
) -> Connection | None:
    """A session with the server itself. None: the URL leads to a pooler."""
    connection = None
    try:
        connection = await open_session(attributes)
        # A pooler invents the process id that it announces. Prepared without a name, so that
        # nothing is left in a server session that others use.
        statement = await connection.prepare("SELECT pg_backend_pid()", name="")
        if await statement.fetchval() == connection.get_server_pid():
            return connection
    except _SHARED_SESSION:
        pass
    except BaseException:
        if connection is not None:
            connection.terminate()
        raise
    if connection is not None:
        await connection.close()
    return None


async def _open_session(
    url: str,
    statement_seconds: float | None,
    seconds: float,
    attributes: str,
    *,
    statement_cache_size: int = 100,
) -> Connection:
    connected = await asyncpg.connect(
        url,
        timeout=seconds,
        command_timeout=statement_seconds,
        server_settings={"application_name": "makegood"},
        connection_class=Connection,
        target_session_attrs=attributes,
        statement_cache_size=statement_cache_size,
    )
    assert isinstance(connected, Connection)
    return connected


def _without_pooler_option(url: str) -> tuple[str, bool]:
    """The URL as asyncpg takes it, and whether it declares a pooler in transaction mode.

    Raises: ValueError for another value, which would have no effect.
    """
    parts = urlsplit(url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in options if name != POOLER_OPTION]
    if len(kept) == len(options):
        return url, False
    if {value for name, value in options if name == POOLER_OPTION} != {"transaction"}:
        raise ValueError(f"the option {POOLER_OPTION} of a database URL must be transaction")
    return parts._replace(query=urlencode(kept)).geturl(), True


def each_host(url: str) -> tuple[str, ...]:
    """One URL for each host in the authority of `url`. Hosts in its query stay together."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts:
        return (url,)
    return tuple(parts._replace(netloc=f"{user}{at}{host}").geturl() for host in hosts.split(","))
