"""`POST /hooks/{source_id}`: what payment providers deliver to the sources of projects.

- `endpoint` makes the checks in their order and answers.
- `known_sources` finds the source, with a cache.
- `deliveries` checks the signature and reads the event.
- `health` records in the background that a source's deliveries fail.
"""
