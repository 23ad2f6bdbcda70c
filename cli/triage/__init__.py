"""Commands of people who look after incidents, beside those in `cli.commands.incidents`."""
