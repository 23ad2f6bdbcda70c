"""Users, sessions, members, invitations, identities of OIDC providers, second factors, failed
logins.
"""
