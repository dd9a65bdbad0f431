//! Floor 2: the shard log.
