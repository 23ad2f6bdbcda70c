"""Secrets of alert destinations: stored, replaced, tested, removed, and refused."""

import httpx

from tests.support.canaries import Canaries
from tests.support.product import Product


def plant_in_destinations(shop: Product, canaries: Canaries) -> None:
    """URLs, a routing key and the secret of a webhook. Nobody listens at the URLs."""

    def asked(status: int, method: str, path: str, body: object = None) -> httpx.Response:
        answer = shop.http.request(
            method, f"/api/v1/alert-destinations{path}", json=body, headers=shop.headers
        )
        assert answer.status_code == status, answer.text
        return answer

    def url(what: str) -> dict[str, str]:
        return {"url": f"http://127.0.0.1:9/services/{canaries.new(what)}"}

    slack = canaries.collect(asked(201, "POST", "", {"kind": "slack", **url("URL of Slack")}))
    path = f"/{slack.json()['id']}"
    canaries.collect(asked(200, "PATCH", path, url("next URL of Slack")))
    canaries.collect(asked(200, "POST", f"{path}/test"))
    # This answer shows the secret, once.
    webhook = asked(201, "POST", "", {"kind": "webhook", **url("URL of a webhook")}).json()
    canaries.plant("secret of a webhook", webhook["secret"])
    canaries.collect(asked(200, "POST", f"/{webhook['id']}/test"))
    key = {"kind": "pagerduty", "routing_key": canaries.new("routing key")}
    removed = canaries.collect(asked(201, "POST", "", key)).json()["id"]
    canaries.collect(asked(200, "DELETE", f"/{removed}"))
    refused = {"kind": "teams", "url": f"http://10.0.0.1/{canaries.new('refused URL')}"}
    canaries.collect(asked(422, "POST", "", refused))
    canaries.collect(asked(422, "PATCH", path, {"routing_key": canaries.new("key of Slack")}))
    target = url("URL on the command line")["url"]
    add = ("destination", "add", "shop", "teams", "--json")
    done = shop.makegood(*add, MAKEGOOD_DESTINATION_TARGET=target)
    assert done.code == 0
    canaries.answers.append(f"{done.out}{done.err}")
    canaries.collect(asked(200, "GET", ""))
