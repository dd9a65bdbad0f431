//! Floor 4: video streams: fragments, time, packagers. No C libraries.
