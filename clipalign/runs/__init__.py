"""Many records at once: pictures are prepared ahead in threads while the model runs; memory stays flat."""
