"""Example bodies of the two POSTs of ingest, for the OpenAPI document."""

from operations.validation import Json

RECEIPT_EXAMPLES: Json = {
    "stripe": {
        "value": {
            "provider": "stripe",
            "stripe_event_id": "evt_1RkQ2dLkdIwHu7ix0Jb2c3D4",
            "event_type": "checkout.session.completed",
            "effect_type": "access_unlock",
            "internal_reference": "order_1042",
            "occurred_at": "2026-11-23T11:13:55Z",
        }
    },
    "shopify": {
        "value": {
            "provider": "shopify",
            "provider_event_id": "98d3a5a0-0b5f-4c1c-9d44-0b8b3f6f1a11",
            "event_type": "orders/paid",
            "effect_type": "credit_grant",
            "internal_reference": "customer_77",
            "occurred_at": "2026-11-23T11:13:55+01:00",
            "shopify_shop_domain": "example.myshopify.com",
            "timeout_minutes": 15,
        }
    },
}
RESULT_EXAMPLES: Json = {
    "success": {"value": {"event_id": "evt_019ab01c2d3e7f4a8b5c6d7e8f901234", "status": "success"}},
    "failed": {
        "value": {
            "stripe_event_id": "evt_1RkQ2dLkdIwHu7ix0Jb2c3D4",
            "status": "failed",
            "error_code": "seat_limit",
            "error_message": "The plan has no seat left.",
        }
    },
}
