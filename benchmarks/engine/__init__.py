"""`make bench-engine`: compares the predictor's engine with other systems on the same weights and cores."""
