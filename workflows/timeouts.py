"""Timeouts and retry policies of the activities that the `receipt` workflow runs."""

from datetime import timedelta

from temporalio.common import RetryPolicy

LIFECYCLE_TIMEOUT = timedelta(seconds=5)
# Shorter than the workflow task's timeout, which is 5 s.
LOCAL_ACTIVITY_TIMEOUT = timedelta(seconds=3)
NO_RETRY = RetryPolicy(maximum_attempts=1)
ALERT_TIMEOUT = timedelta(seconds=20)
CALLBACK_TIMEOUT = timedelta(seconds=35)
# Without a limit: the workflow cannot go on without the stored state.
LIFECYCLE_RETRIES = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=10)
)
# The activity sets the schedule's delays itself (`next_retry_delay`). This interval applies when
# the worker or the store is lost.
CALLBACK_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=1.5,
    maximum_interval=timedelta(seconds=10),
)
# The reconciler sends what stays unsent.
ALERT_RETRIES = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3)
# Longer than any deadline. A run started by hand may have a deadline in the year 9999: it reads the
# store before that.
LONGEST_WAIT = timedelta(days=30)
