"""`make bench-engine`: the predictor's engine beside other ways of running the same weights on the same cores."""
