"""The transformer: the service that takes text and returns text.

It detects languages, looks translations up, turns text into the release's token ids, asks the predictor to continue
them, and turns the ids back into text. It never runs a model and never imports the predictor: they meet over HTTP.
"""
