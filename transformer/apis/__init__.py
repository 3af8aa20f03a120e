"""The public APIs that translation tools speak, one module each: a request becomes a TranslateRequest, and back.

:func:`transformer.apis.surfaces.create_apis` makes those that the settings name. docs/apis.md says what each does.
"""
