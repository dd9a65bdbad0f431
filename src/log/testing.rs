//! What property tests share.

use proptest::prelude::ProptestConfig;

/// So many cases. Failures are not kept in a file: proptest would put it beside the crates, where Cargo takes the folder
/// for one of them and nothing builds any more.
pub fn cases(n: u32) -> ProptestConfig {
    ProptestConfig { cases: n, failure_persistence: None, ..ProptestConfig::default() }
}
