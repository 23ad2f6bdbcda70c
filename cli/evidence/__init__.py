"""Evidence on the command line: making a file needs the store, checking one needs nothing else."""
