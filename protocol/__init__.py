"""What both services share: tensor tables, message types, codec, error table and the release's file format.

A leaf: it imports no other room. The transformer and the predictor never import each other, they meet here.
"""
