"""Videos: uploaded, re-encoded by ffmpeg, published with a thumbnail under the CDN folder, and served from there."""
