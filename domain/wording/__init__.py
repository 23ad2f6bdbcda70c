"""Words that pages, mails and the command line share: who is harmed, and the names of states."""
