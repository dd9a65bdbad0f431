use world::Timestamp;

/// A right to write, held until it expires. Whatever is written under it carries the epoch, so that a holder who lost
/// it unawares is found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What it is for, such as `journal`.
    pub name: String,
    /// Who holds it.
    pub holder: String,
    /// Higher than that of every earlier acquisition under this name.
    pub epoch: u64,
    /// By the catalog's clock.
    pub expires: Timestamp,
}
