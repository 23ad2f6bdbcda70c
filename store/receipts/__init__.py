"""The life of a receipt, and the only code that changes it.

`state` loads and locks a receipt, `transitions` applies results and deadlines, `operator_actions`
and `repairs` the rest. `outbox` holds the signals for Temporal, `timeline` what happened. `queries`
serves lists, `reconcile_queries` the worker.
"""
