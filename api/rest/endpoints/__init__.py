"""The handlers of the REST API, a file for each noun.

Each handler calls one operation of `operations.composition` and responds with a model of
`operations.responses`. Its first parameter is the caller, so that FastAPI checks the key before
everything else. The docstrings are the texts of the API reference.
"""
