"""Are the outputs of an engine right?"""
