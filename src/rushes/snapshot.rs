//! Snapshots of the catalog: one consistent copy of the database, sealed in blocks under a key of its own, which the
//! master key wraps. `docs/formats/catalog-snapshot.md` is the layout.

use std::io::{self, Read, Write};

use seal::{Block, BlockKey, CHUNK, DataKey, KeyProvider, TAG, Wrapped};
use world::{ShardId, StreamUid, Timestamp, World};

use crate::Failure;

const MAGIC: &[u8; 8] = b"rushesc\0";
const FORMAT: u32 = 1;
/// The stream id that the catalog's own things are sealed under.
const CATALOG: StreamUid = StreamUid([0xff; 16]);
/// Bytes of a header that are believed.
const MOST: u32 = 4096;
/// Bytes of the fixed part: magic, format, length of the header.
const FIXED: usize = 16;

/// What a snapshot's beginning says; readable without a key.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Header {
    /// Names it.
    pub id: String,
    /// When the copy was made, microseconds since 1970.
    pub created: i64,
    /// Length of the database in bytes.
    pub bytes: u64,
    /// The master key that wraps its key ([`KeyProvider::id`]).
    pub master: String,
    /// The wrapped key, in hexadecimal.
    pub key: String,
    /// What the block key is derived with, in hexadecimal.
    pub salt: String,
}

fn hex(b: &[u8]) -> String {
    b.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(s: &str) -> Option<Vec<u8>> {
    let b = s.as_bytes();
    if !b.len().is_multiple_of(2) {
        return None;
    }
    b.chunks_exact(2).map(|p| u8::from_str_radix(std::str::from_utf8(p).ok()?, 16).ok()).collect()
}

/// Binds the key to its snapshot, its time and its length.
fn context(id: &str, created: i64, bytes: u64) -> Vec<u8> {
    [b"rushes catalog snapshot v1\0", id.as_bytes(), &created.to_be_bytes(), &bytes.to_be_bytes()].concat()
}

fn block() -> Block {
    Block { shard: ShardId { stream: CATALOG, shard: 0 }, epoch: 0, id: 0 }
}

/// Fills `buf` as far as the input goes.
fn fill(from: &mut dyn Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < buf.len() {
        match from.read(&mut buf[n..]) {
            Ok(0) => break,
            Ok(k) => n += k,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(n)
}

impl Header {
    /// When the copy was made.
    pub fn time(&self) -> Timestamp {
        Timestamp(self.created)
    }

    /// Reads the beginning of a snapshot.
    pub fn read(from: &mut dyn Read) -> Result<Header, Failure> {
        let not = || Failure("is not a snapshot of a catalog".into());
        let mut fixed = [0; FIXED];
        if fill(from, &mut fixed).map_err(Failure::new)? < FIXED || &fixed[..8] != MAGIC {
            return Err(not());
        }
        let number = |i: usize| u32::from_le_bytes([fixed[i], fixed[i + 1], fixed[i + 2], fixed[i + 3]]);
        let (format, len) = (number(8), number(12));
        if format != FORMAT {
            return Err(Failure(format!("has format {format}, this version of rushes knows {FORMAT}")));
        }
        if len > MOST {
            return Err(not());
        }
        let mut text = vec![0; len as usize];
        if fill(from, &mut text).map_err(Failure::new)? < text.len() {
            return Err(Failure("is cut off".into()));
        }
        serde_json::from_slice(&text).map_err(|_| not())
    }
}

/// Seals `len` bytes of a database into a snapshot; returns its header.
pub async fn seal(
    world: &World,
    master: &dyn KeyProvider,
    created: Timestamp,
    len: u64,
    from: &mut (dyn Read + Send),
    to: &mut (dyn Write + Send),
) -> Result<Header, Failure> {
    let id = hex(&world.random16());
    let key = DataKey::new(world.random32());
    let salt = world.random32();
    let wrapped = master
        .wrap(&key, &context(&id, created.micros(), len), world.random32())
        .await
        .map_err(Failure::new)?;
    let header = Header {
        id,
        created: created.micros(),
        bytes: len,
        master: wrapped.provider,
        key: hex(&wrapped.bytes),
        salt: hex(&salt),
    };
    let text = serde_json::to_vec(&header).map_err(Failure::new)?;
    let mut write = |b: &[u8]| to.write_all(b).map_err(Failure::new);
    write(MAGIC)?;
    write(&FORMAT.to_le_bytes())?;
    write(&(text.len() as u32).to_le_bytes())?;
    write(&text)?;
    let key = BlockKey::new(&key, &salt, CATALOG, 1);
    let mut left = len;
    let mut chunk = Vec::with_capacity(CHUNK + TAG);
    for n in 0u32.. {
        let want = left.min(CHUNK as u64) as usize;
        chunk.resize(want, 0);
        if fill(from, &mut chunk).map_err(Failure::new)? < want {
            return Err(Failure("the copy became shorter while it was read".into()));
        }
        left -= want as u64;
        key.seal_chunk(&block(), n, left == 0, &mut chunk, 0);
        write(&chunk)?;
        if left == 0 {
            break;
        }
    }
    Ok(header)
}

/// Opens a snapshot, whose header was read, into `to`. Nothing of what was written counts unless this returns.
pub async fn open(
    header: &Header,
    master: &dyn KeyProvider,
    from: &mut (dyn Read + Send),
    to: &mut (dyn Write + Send),
) -> Result<(), Failure> {
    let bad = || Failure("is damaged: its header".into());
    let wrapped = Wrapped { provider: header.master.clone(), bytes: unhex(&header.key).ok_or_else(bad)? };
    let salt = unhex(&header.salt).and_then(|s| <[u8; 32]>::try_from(s).ok()).ok_or_else(bad)?;
    let context = context(&header.id, header.created, header.bytes);
    let data = master.unwrap(&wrapped, &context).await.map_err(|e| Failure(format!("its key {e}")))?;
    let key = BlockKey::new(&data, &salt, CATALOG, 1);
    let mut left = header.bytes;
    let mut chunk = Vec::with_capacity(CHUNK + TAG);
    for n in 0u32.. {
        let plain = left.min(CHUNK as u64) as usize;
        left -= plain as u64;
        chunk.resize(plain + TAG, 0);
        if fill(from, &mut chunk).map_err(Failure::new)? < chunk.len() {
            return Err(Failure("is cut off".into()));
        }
        let plain = key
            .open_chunk(&block(), n, left == 0, &mut chunk)
            .map_err(|e| Failure(format!("is damaged: its block {n} {e}")))?;
        to.write_all(plain).map_err(Failure::new)?;
        if left == 0 {
            break;
        }
    }
    if fill(from, &mut [0]).map_err(Failure::new)? > 0 {
        return Err(Failure("has more than it should".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use seal::LocalKey;

    async fn sealed(world: &World, master: &LocalKey, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        seal(world, master, Timestamp(7), plain.len() as u64, &mut &plain[..], &mut out).await.unwrap();
        out
    }

    async fn opened(master: &LocalKey, mut b: &[u8]) -> Result<Vec<u8>, Failure> {
        let header = Header::read(&mut b)?;
        let mut out = Vec::new();
        open(&header, master, &mut b, &mut out).await?;
        Ok(out)
    }

    #[tokio::test]
    async fn a_snapshot_opens_whole_under_its_key_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let world = World::real(dir.path());
        let master = LocalKey::new(DataKey::new([1; 32]));
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5] {
            let plain: Vec<u8> = (0..len).map(|i| (i / 7) as u8).collect();
            let b = sealed(&world, &master, &plain).await;
            assert_eq!(opened(&master, &b).await.unwrap(), plain);
            assert!(len < 16 || !b.windows(16).any(|w| w == &plain[..16]), "nothing in the clear");
            for at in (0..b.len()).step_by(1 + b.len() / 60) {
                let mut bad = b.clone();
                bad[at] ^= 2;
                let r = opened(&master, &bad).await;
                assert!(r.is_err(), "a bit at {at} of {len}");
                assert!(opened(&master, &b[..at]).await.is_err(), "cut at {at}");
            }
            let other = LocalKey::new(DataKey::new([2; 32]));
            assert!(opened(&other, &b).await.unwrap_err().to_string().contains("master key"));
            assert!(opened(&master, &[&b[..], b"x"].concat()).await.is_err());
        }
        assert!(opened(&master, b"hello").await.is_err());
    }
}
