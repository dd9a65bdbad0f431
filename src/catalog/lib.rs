//! Floor 1: the durable metadata: one trait, engines, one conformance suite.
