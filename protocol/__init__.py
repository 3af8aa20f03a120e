"""The contract between both services: tensor tables, message types, codec, error table, release format.

A leaf: it imports no other room. The transformer and the predictor never import each other, they meet here.
"""
