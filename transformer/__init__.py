"""Text in, text out: the service that callers talk to.

It detects languages, looks translations up, turns text into the release's token ids, asks the predictor to continue
them, and turns the ids back into text. It never runs a model and never imports the predictor: they meet over HTTP.
"""
