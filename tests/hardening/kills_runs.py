def eval_scenes(scale): return []
def training_scenes(scale): return []
