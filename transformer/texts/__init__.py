"""What is done to a text before the model and after it: taking apart, checking, putting together. Pure functions."""
