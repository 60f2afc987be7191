"""Is an engine slower or larger than its baseline, and which layers explain it?"""
