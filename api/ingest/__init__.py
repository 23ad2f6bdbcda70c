"""`POST /api/v1/receipt` and `POST /api/v1/result`: the hot path, outside FastAPI."""
