"""TensorRT, TensorRT-RTX, and the lean and dispatch runtimes: `backend` is the way in, `versions` all that differs."""
