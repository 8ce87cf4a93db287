"""The embedded world and model: scenes of pictograms, captions that are known to be true or false, and a small CLIP.

``world`` holds the vocabulary (kinds, colors, sizes, counts), ``scenes`` composes pictures, ``captions`` writes true
captions and swaps one word for a false one, ``long_captions`` writes long ones, ``training`` makes the model from them.
The model knows these scenes and nothing else; it exists so that every command can do its real job without a download.
"""
