"""How an engine is run: buffers, streams, overlapped copies, CUDA graphs."""
