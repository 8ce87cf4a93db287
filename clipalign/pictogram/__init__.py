"""The embedded model and what it knows: scenes of pictograms, captions known to be true or false, a small CLIP."""
