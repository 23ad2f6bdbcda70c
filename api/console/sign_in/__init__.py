"""Sign-in, sessions, cookies, OIDC, second factor and step-up authentication of the console."""
