//! Blocks of the log. A block is the unit that is sealed once and carried as it is ever after: one batch of records,
//! or one large payload. It is cut into chunks of [`CHUNK`] bytes of plain text, each sealed alone, so that a range of
//! it opens alone and memory stays bounded. An empty block has one empty chunk.
//!
//! nonce (12 bytes) = block id (u64, big endian) | chunk (u32, big endian)
//! additional data  = "rushes block v1" | stream uid 16 | shard u32 | epoch u64 | block id u64 | chunk u32 | last u8
//! key              = HKDF-SHA256(data key, writer's salt, "rushes block key v1" | stream uid | generation u32)

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use world::ShardId;

use crate::{DataKey, Salt, SealError};

/// Plain bytes in every chunk but the last.
pub const CHUNK: usize = 256 * 1024;
/// What sealing adds to each chunk.
pub const TAG: usize = 16;

/// The sealed length of a block with `plain` bytes.
pub fn sealed_len(plain: u64) -> u64 {
    plain + TAG as u64 * plain.div_ceil(CHUNK as u64).max(1)
}

/// Where a block belongs; bound into every chunk's additional data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    /// The shard it was written to.
    pub shard: ShardId,
    /// The writer's epoch (its lease's), as the journal's header has it.
    pub epoch: u64,
    /// Counted by the writer from its start, never used twice under its salt.
    pub id: u64,
}

impl Block {
    fn aad(&self, chunk: u32, last: bool) -> [u8; 56] {
        let mut a = [0; 56];
        a[..15].copy_from_slice(b"rushes block v1");
        a[15..31].copy_from_slice(&self.shard.stream.0);
        a[31..35].copy_from_slice(&self.shard.shard.to_be_bytes());
        a[35..43].copy_from_slice(&self.epoch.to_be_bytes());
        a[43..51].copy_from_slice(&self.id.to_be_bytes());
        a[51..55].copy_from_slice(&chunk.to_be_bytes());
        a[55] = u8::from(last);
        a
    }
    fn nonce(&self, chunk: u32) -> Nonce {
        let mut n = [0; 12];
        n[..8].copy_from_slice(&self.id.to_be_bytes());
        n[8..].copy_from_slice(&chunk.to_be_bytes());
        Nonce::assume_unique_for_key(n)
    }
}

/// One writer start's key for one stream's blocks of one key generation.
pub struct BlockKey(LessSafeKey);

impl BlockKey {
    /// Derives it.
    pub fn new(data: &DataKey, salt: &Salt, stream: world::StreamUid, generation: u32) -> Self {
        let k = data.derive(salt, &[b"rushes block key v1", &stream.0, &generation.to_be_bytes()]);
        BlockKey(LessSafeKey::new(
            UnboundKey::new(&AES_256_GCM, k.bytes()).expect("AES-256 keys have 32 bytes"),
        ))
    }

    /// Seals `buf[from..]` in place and appends the tag. The caller never seals two texts under the same block and
    /// chunk.
    pub fn seal_chunk(&self, block: &Block, chunk: u32, last: bool, buf: &mut Vec<u8>, from: usize) {
        let tag = self
            .0
            .seal_in_place_separate_tag(
                block.nonce(chunk),
                Aad::from(block.aad(chunk, last)),
                &mut buf[from..],
            )
            .expect("a chunk is within AES-GCM's length");
        buf.extend_from_slice(tag.as_ref());
    }

    /// Opens a sealed chunk (with its tag) in place and returns the plain part.
    pub fn open_chunk<'b>(
        &self,
        block: &Block,
        chunk: u32,
        last: bool,
        buf: &'b mut [u8],
    ) -> Result<&'b mut [u8], SealError> {
        self.0
            .open_in_place(block.nonce(chunk), Aad::from(block.aad(chunk, last)), buf)
            .map_err(|_| SealError::Broken)
    }

    /// Seals a whole block.
    pub fn seal(&self, block: &Block, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(sealed_len(plain.len() as u64) as usize);
        let mut chunks = plain.chunks(CHUNK).peekable();
        let (mut i, mut next) = (0, chunks.next().unwrap_or_default());
        loop {
            let from = out.len();
            out.extend_from_slice(next);
            self.seal_chunk(block, i, chunks.peek().is_none(), &mut out, from);
            match chunks.next() {
                Some(c) => (i, next) = (i + 1, c),
                None => return out,
            }
        }
    }

    /// Opens a whole block.
    pub fn open(&self, block: &Block, mut sealed: Vec<u8>) -> Result<Vec<u8>, SealError> {
        let step = CHUNK + TAG;
        let n = sealed.len().div_ceil(step).max(1);
        let mut filled = 0;
        for i in 0..n {
            let (from, to) = (i * step, sealed.len().min((i + 1) * step));
            let len = self.open_chunk(block, i as u32, i + 1 == n, &mut sealed[from..to])?.len();
            sealed.copy_within(from..from + len, filled);
            filled += len;
        }
        sealed.truncate(filled);
        Ok(sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use world::StreamUid;

    fn shard(n: u32) -> ShardId {
        ShardId { stream: StreamUid([7; 16]), shard: n }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_block_opens_only_as_itself(len in prop_oneof![0usize..3000, CHUNK - 1..CHUNK + 2, 2 * CHUNK - 1..2 * CHUNK + 40], id: u64, flip in any::<prop::sample::Index>()) {
            let key = BlockKey::new(&DataKey::new([1; 32]), &[2; 32], StreamUid([7; 16]), 1);
            let plain: Vec<u8> = (0..len).map(|i| (i * 31) as u8).collect();
            let b = Block { shard: shard(1), epoch: 9, id };
            let sealed = key.seal(&b, &plain);
            prop_assert_eq!(sealed.len() as u64, sealed_len(len as u64));
            prop_assert_eq!(&key.open(&b, sealed.clone()).unwrap(), &plain);
            for other in [Block { shard: shard(2), ..b }, Block { epoch: 8, ..b }, Block { id: id ^ 1, ..b }] {
                prop_assert_eq!(key.open(&other, sealed.clone()), Err(SealError::Broken));
            }
            let other = BlockKey::new(&DataKey::new([1; 32]), &[3; 32], StreamUid([7; 16]), 1);
            prop_assert!(other.open(&b, sealed.clone()).is_err());
            let mut bad = sealed.clone();
            bad[flip.index(sealed.len())] ^= 0x40;
            prop_assert!(key.open(&b, bad).is_err());
            // Cut at a chunk's border: the last-chunk flag tells.
            if sealed.len() > CHUNK + TAG {
                prop_assert!(key.open(&b, sealed[..CHUNK + TAG].to_vec()).is_err());
            }
        }
    }
}
