//! What the fuzz targets (`fuzz/`) and this room's own tests do with arbitrary bytes. A panic here is a bug.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use access::{Gate, actions};
use catalog::{Catalog, MemoryCatalog};
use log::{Limits, MemoryLog, SharedLog};
use seal::{DataKey, LocalKey};
use serde_json::Value;
use usage::Usage;
use world::{Home, Timestamp, World};

use super::{
    ack::Acks,
    producer::{AWS, Producer},
};
use crate::{By, Config, Parts, Session, Video};

/// What a producer puts: the first byte says in pieces of how many bytes. What is said to be stored is, an error is the last
/// word, and the next producer is heard.
pub fn put_media(data: &[u8]) {
    let Some((step, body)) = data.split_first() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let video = over_nothing().await.expect("streams of nothing");
        let mut kept = put(&video, body, usize::from(*step) + 1).await;
        // What was put before, and is put again, keeps its number.
        kept.extend(put(&video, &good(), 100).await);
        let stream = video.streams.get("s").expect("the stream");
        let found = stream.range(&video.log, By::Server, Timestamp(0), Timestamp::MAX, 1000).await;
        let found = found.expect("what is stored").items.len();
        assert_eq!(found, kept.len(), "what was acknowledged, and nothing else, is there");
    });
}

/// One connection's worth: the numbers of the fragments that it was told are stored.
async fn put(video: &Arc<Video>, body: &[u8], step: usize) -> BTreeSet<String> {
    let stream = video.streams.get("s").expect("the stream");
    let session = Session::told(stream.clone(), video.log.clone()).await.expect("a session");
    let (acks, mut lines) = Acks::new(false);
    let (zero, gap) = (Timestamp(0), Duration::from_secs(10));
    let mut producer = Producer::new(session, stream.info.uid, acks.clone(), &AWS, zero, true, gap);
    let now = video.world.clock.now();
    let mut ended = None;
    for piece in body.chunks(step) {
        ended = producer.push(piece, now).await.err();
        if ended.is_some() {
            break;
        }
    }
    let ended = match ended {
        None => producer.end(now).await.err(),
        Some(e) => Some((producer, e)),
    };
    if let Some((producer, e)) = ended {
        assert!(!e.why.is_empty());
        producer.abandon().await.expect("what was complete is kept");
        acks.error(e.fault, None);
    }
    drop(acks);
    let mut said: Vec<Value> = Vec::new();
    while let Some(line) = lines.recv().await {
        said.push(serde_json::from_slice(&line).expect("a line of JSON"));
    }
    let count = |kind: &str| said.iter().filter(|a| a["EventType"] == kind).count();
    let last = said.iter().position(|a| a["EventType"] == "ERROR");
    assert!(last.is_none_or(|n| n + 1 == said.len()), "an error is the last word: {said:?}");
    assert_eq!(count("RECEIVED"), count("PERSISTED"), "{said:?}");
    let stored = said.iter().filter(|a| a["EventType"] == "PERSISTED");
    stored.map(|a| a["FragmentNumber"].to_string()).collect()
}

/// A document that nobody refuses, of a fragment at a time that no other is likely to have.
fn good() -> Vec<u8> {
    fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
        [id, &(content.len() as u64 | 1 << 56).to_be_bytes(), content].concat()
    }
    let track =
        [element(&[0xd7], &[1]), element(&[0x83], &[1]), element(&[0x86], b"V_NOBODY/KNOWS")].concat();
    let cluster = [
        element(&[0xe7], &1_234_567_890_123_u64.to_be_bytes()),
        element(&[0xa3], &[0x81, 0, 0, 0x80, 1, 2, 3]),
    ];
    [
        element(&[0x1a, 0x45, 0xdf, 0xa3], &element(&[0x42, 0x82], b"matroska")),
        vec![0x18, 0x53, 0x80, 0x67, 0xff],
        element(&[0x16, 0x54, 0xae, 0x6b], &element(&[0xae], &track)),
        element(&[0x1f, 0x43, 0xb6, 0x75], &cluster.concat()),
    ]
    .concat()
}

/// Streams in memory, of which `s` is there.
async fn over_nothing() -> Result<Arc<Video>, crate::VideoError> {
    let world = World::real(std::env::temp_dir());
    let catalog: Arc<dyn Catalog> = Arc::new(MemoryCatalog::new(world.clone()));
    let log: SharedLog = MemoryLog::new(world.clone(), Limits::default());
    let home = Home::default();
    let keys = Arc::new(LocalKey::new(DataKey::new([7; 32])));
    let opened = Gate::open(world.clone(), catalog.clone(), keys, home.clone(), None).await;
    let (gate, _) = opened.expect("a gate");
    let usage = Usage::new(world.clone(), catalog.clone());
    let permit = gate.internal(actions::CREATE_STREAM, &home.video_stream("s"));
    let video =
        Video::open(Parts { world, catalog, log, gate, home, stills: None, usage }, Config::default())
            .await?;
    video.create_stream(permit, "s", crate::StreamConfig::default()).await?;
    Ok(video)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_good_is_kept() {
        put_media(&[]);
        put_media(&[3]);
        put_media(&[&[40][..], &good()].concat());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn whatever_is_put_harms_nobody(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(), step: u8,
        ) {
            let mut data = [&[step][..], &good()].concat();
            for (at, to) in changes {
                let at = at.index(data.len());
                data[at] = to;
            }
            data.truncate(cut.index(data.len()) + 1);
            put_media(&data);
        }
    }
}
