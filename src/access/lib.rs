//! Floor 2: who may do what: one gate, one Permit.
