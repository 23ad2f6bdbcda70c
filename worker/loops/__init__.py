"""Background loops of the worker: dispatch of the outbox, reconciling, overdue incidents, alert retries, retention."""
