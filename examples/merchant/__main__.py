"""Runs the demo merchant on loopback:

`python -m examples.merchant`, with the environment that README.md lists.
"""

import os
import sys
from pathlib import Path

import uvicorn

try:
    import makegood_client
except ImportError:
    sys.exit(
        "The demo merchant uses Makegood's Python client: PYTHONPATH=sdks/python python -m"
        " examples.merchant"
    )

from examples.merchant.app import create_app
from examples.merchant.shop import Fault, Shop, Switches
from examples.merchant.state import ShopState


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    if older := os.environ.get("MAKEGOOD_KEY"):  # the name of the key in earlier versions
        os.environ["MAKEGOOD_API_KEY"] = os.environ.get("MAKEGOOD_API_KEY") or older
    needed = (
        *("MAKEGOOD_URL", "MAKEGOOD_API_KEY", "MAKEGOOD_SIGNING_SECRET"),
        "STRIPE_WEBHOOK_SECRET",
    )
    if missing := [name for name in needed if not os.environ.get(name)]:
        sys.exit(f"Set {', '.join(missing)}: see examples/merchant/README.md")
    state = ShopState(Path(os.environ.get("MERCHANT_DB", "merchant.db")))
    timeout_minutes = os.environ.get("MERCHANT_TIMEOUT_MINUTES")
    switches = Switches(
        fault=Fault(os.environ.get("MERCHANT_FAULT", "none")),
        repair_fault=Fault(os.environ.get("MERCHANT_REPAIR_FAULT", "none")),
        late_seconds=float(os.environ.get("MERCHANT_LATE_SECONDS", "5")),
        timeout_minutes=float(timeout_minutes) if timeout_minutes else None,
    )
    makegood = makegood_client.Makegood(
        base_url=os.environ["MAKEGOOD_URL"], api_key=os.environ["MAKEGOOD_API_KEY"]
    )
    app = create_app(
        Shop(state, makegood, switches),
        stripe_secret=os.environ["STRIPE_WEBHOOK_SECRET"],
        verifier=makegood_client.CallbackVerifier(
            secrets=os.environ["MAKEGOOD_SIGNING_SECRET"], seen_nonce=state.is_seen_nonce
        ),
    )
    try:
        uvicorn.run(
            app,
            host="127.0.0.1",
            port=int(os.environ.get("MERCHANT_PORT", "4242")),
            log_level="warning",
        )
    finally:
        state.close()


main()
