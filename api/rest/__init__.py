"""The REST API of operators, its response models and its OpenAPI document."""
