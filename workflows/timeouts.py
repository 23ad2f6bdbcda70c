"""How long the `receipt` workflow waits for an activity, and how an activity is retried."""

from datetime import timedelta

from temporalio.common import RetryPolicy

LEDGER_TIMEOUT = timedelta(seconds=5)
# Within the workflow's task, which has 5 s.
LOCAL_TIMEOUT = timedelta(seconds=3)
ONCE = RetryPolicy(maximum_attempts=1)
ALERT_TIMEOUT = timedelta(seconds=20)
CALLBACK_TIMEOUT = timedelta(seconds=35)
# The ledger is asked until it answers: without it nothing can be decided.
LEDGER_RETRIES = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=10))
# The schedule is the activity's own (`next_retry_delay`); this interval is for a lost worker or store.
CALLBACK_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=1.5, maximum_interval=timedelta(seconds=10)
)
# What stays unsent is the reconciler's.
ALERT_RETRIES = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3)
# Further than any deadline. A run started by hand may name the year 9999: it asks the store before that.
LONGEST_WAIT = timedelta(days=30)
