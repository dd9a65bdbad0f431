//! Floor 2: containers and codecs, without I/O; the neutral fragment.
