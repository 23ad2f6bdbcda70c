"""The worker's background loops: dispatch, reconciling, overdue incidents, alerts, retention."""
