"""Tunes Python's garbage collection for a process that serves requests or runs tasks."""

import gc

# A full collection stops the process for 50 to 100 ms. These thresholds make it rare.
THRESHOLDS = (50_000, 20, 100)


def tune_garbage_collection() -> None:
    """Exclude the objects of the start-up from garbage collection, and make full collections rare.

    Freezing restricts a collection to objects that were created since.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
