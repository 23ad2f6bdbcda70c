"""The REST API of operators and its OpenAPI document. The handlers are in `endpoints`."""
