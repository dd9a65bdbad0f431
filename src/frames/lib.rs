//! Floor 2: decoding, scaling and JPEG by FFmpeg in worker processes.
