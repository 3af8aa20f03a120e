"""The page at ``/``: HTML, CSS and one JavaScript module, served by :mod:`transformer.apis.page`."""
