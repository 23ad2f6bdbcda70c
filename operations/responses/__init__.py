"""The JSON of each noun: response models that serialize themselves, for REST and the command line.

`of` takes domain values, and `to_json` gives JSON values. Only the model of a noun spells its
fields. The class names are the names of the schemas in the OpenAPI document.
"""
