"""The embedded model and what it knows: scenes of pictograms, captions known to be true or false, a small CLIP.

It knows these scenes and nothing else; it exists so that every command can do its real job without a download.
"""
