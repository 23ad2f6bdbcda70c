"""The life of a receipt, and the only code that changes it.

`state` loads and locks a receipt, `transitions` changes its state for `results`, `deadlines`,
`repairs`, `attempts` and `operator_actions`. `outbox` holds the signals for Temporal, `timeline`
what happened. `queries` serves lists, `reconcile` the worker.
"""
