"""The application layer: the operations that REST, the console and the command line share.

An operation validates its input, runs one transaction, writes the audit log and returns domain
values. It knows nothing of HTTP. `operations.responses` has the JSON of each noun. A class holds
the operations on one noun. Two frozen dataclasses compose them: `composition.Operations` for
projects and their events, and `people.People` for users.

A `project_id` of None means every project, for the console and the command line. REST passes the
caller's project, so that objects of other projects are not found. Messages for Temporal are rows of
the outbox, inserted in the operation's transaction.
"""
