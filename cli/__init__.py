"""The `makegood` command line. `main` lists the commands; `local_operations` opens the store for
them.
"""
