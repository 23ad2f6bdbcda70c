"""The operations on people: accounts, sessions, members of projects and invitations.

The console and the command line share them. The console checks before whether the user may act.
The command line may do everything, because its user has access to the store.
"""
