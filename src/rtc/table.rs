//! Which session a packet is for.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use world::Timestamp;

/// Addresses that a session may be reached from; a browser uses a few.
const ADDRESSES: usize = 32;

/// A packet as it came.
pub(crate) struct Packet {
    pub(crate) source: SocketAddr,
    /// The way back, if it came by TCP.
    pub(crate) tcp: Option<mpsc::Sender<Bytes>>,
    pub(crate) data: Bytes,
    pub(crate) at: Instant,
    pub(crate) received: Timestamp,
}

/// New ICE credentials of a peer, and where to say what comes of them.
#[derive(Debug)]
pub(crate) struct Restart {
    pub(crate) ufrag: String,
    pub(crate) pwd: String,
    /// A fragment with the server's new ones; the error is for people.
    pub(crate) answer: oneshot::Sender<Result<String, String>>,
}

/// What a session is told by others.
#[derive(Debug)]
pub(crate) enum Control {
    /// ICE is restarted.
    Restart(Restart),
    /// Somebody needs a key frame.
    KeyFrame,
    /// It is to end.
    End,
}

/// Which way media go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    In,
    Out,
}

/// What is known of a session from outside.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) way: Way,
    pub(crate) stream: String,
    pub(crate) ufrag: String,
    /// The peer's.
    pub(crate) remote_ufrag: Option<String>,
    pub(crate) packets: mpsc::Sender<Packet>,
    pub(crate) control: mpsc::Sender<Control>,
}

/// All sessions.
#[derive(Default)]
pub(crate) struct Table(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    sessions: HashMap<String, Entry>,
    by_ufrag: HashMap<String, String>,
    /// By transport (TCP or not) and address.
    by_address: HashMap<(bool, SocketAddr), String>,
    addresses: HashMap<String, Vec<(bool, SocketAddr)>>,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a session in, unless there are as many as may be.
    pub(crate) fn insert(&self, id: &str, entry: Entry, most: usize) -> bool {
        let mut t = self.lock();
        if t.sessions.len() >= most {
            return false;
        }
        t.by_ufrag.insert(entry.ufrag.clone(), id.into());
        t.sessions.insert(id.into(), entry);
        true
    }

    /// A session's credentials are others from now on.
    pub(crate) fn renamed(&self, id: &str, ufrag: &str, remote_ufrag: &str) {
        let mut t = self.lock();
        let Some(e) = t.sessions.get_mut(id) else { return };
        let before = std::mem::replace(&mut e.ufrag, ufrag.into());
        e.remote_ufrag = Some(remote_ufrag.into());
        t.by_ufrag.remove(&before);
        t.by_ufrag.insert(ufrag.into(), id.into());
    }

    pub(crate) fn remove(&self, id: &str) {
        let mut t = self.lock();
        if let Some(e) = t.sessions.remove(id) {
            t.by_ufrag.remove(&e.ufrag);
        }
        for a in t.addresses.remove(id).unwrap_or_default() {
            if t.by_address.get(&a).is_some_and(|i| i == id) {
                t.by_address.remove(&a);
            }
        }
    }

    pub(crate) fn get(&self, id: &str) -> Option<Entry> {
        self.lock().sessions.get(id).cloned()
    }

    pub(crate) fn count(&self, way: Way) -> usize {
        self.lock().sessions.values().filter(|e| e.way == way).count()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().sessions.len()
    }

    /// The sessions that publish to a stream.
    pub(crate) fn publishers(&self, stream: &str) -> Vec<mpsc::Sender<Control>> {
        let t = self.lock();
        let of = |e: &&Entry| e.way == Way::In && e.stream == stream;
        t.sessions.values().filter(of).map(|e| e.control.clone()).collect()
    }

    pub(crate) fn all(&self) -> Vec<mpsc::Sender<Control>> {
        self.lock().sessions.values().map(|e| e.control.clone()).collect()
    }

    /// Where a packet goes. A binding request (RFC 8489) names its session, and its address is that session's from then
    /// on; whether it may be, the session finds out, and answers or not.
    pub(crate) fn route(&self, tcp: bool, source: SocketAddr, data: &[u8]) -> Option<mpsc::Sender<Packet>> {
        let key = (tcp, source);
        let mut t = self.lock();
        if let Some(id) = local_ufrag(data).and_then(|u| t.by_ufrag.get(u)).cloned() {
            if t.by_address.get(&key) != Some(&id) {
                let of = t.addresses.entry(id.clone()).or_default();
                if of.len() >= ADDRESSES {
                    return None;
                }
                of.push(key);
                t.by_address.insert(key, id.clone());
            }
            return t.sessions.get(&id).map(|e| e.packets.clone());
        }
        let id = t.by_address.get(&key)?;
        t.sessions.get(id).map(|e| e.packets.clone())
    }
}

/// Our half of the user name in a STUN binding request (RFC 8445 §7.2.2), if it is one.
fn local_ufrag(data: &[u8]) -> Option<&str> {
    const BINDING: [u8; 2] = [0, 1];
    const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    const USERNAME: u16 = 6;
    let (head, mut rest) = data.split_at_checked(20)?;
    if head[..2] != BINDING || head[4..8] != COOKIE {
        return None;
    }
    loop {
        let (head, after) = rest.split_at_checked(4)?;
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = after.get(..len)?;
        if u16::from_be_bytes([head[0], head[1]]) == USERNAME {
            return std::str::from_utf8(value).ok()?.split_once(':').map(|(local, _)| local);
        }
        rest = after.get(len.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binding(user: &str) -> Vec<u8> {
        let mut out = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        out.extend([0x80, 0x22, 0, 3, b'x', b'y', b'z', 0, 0, 6, 0, user.len() as u8]);
        out.extend(user.bytes());
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn entry(ufrag: &str) -> (Entry, mpsc::Receiver<Packet>) {
        let (packets, rx) = mpsc::channel(1);
        let control = mpsc::channel(1).0;
        let e = Entry {
            way: Way::Out,
            stream: "yard".into(),
            ufrag: ufrag.into(),
            remote_ufrag: None,
            packets,
            control,
        };
        (e, rx)
    }

    #[test]
    fn packets_find_their_session_by_name_and_then_by_address() {
        let t = Table::default();
        let ((a, _ra), (b, _rb)) = (entry("aaaa"), entry("bbbb"));
        assert!(t.insert("1", a.clone(), 2) && t.insert("2", b.clone(), 2));
        assert!(!t.insert("3", entry("cccc").0, 2), "so many and no more");
        let from: SocketAddr = "192.0.2.7:5000".parse().unwrap();
        let goes = |data: &[u8]| t.route(false, from, data);
        assert!(goes(&[22, 1, 2]).is_none());
        assert!(goes(&binding("aaaa:zz")).is_some_and(|s| s.same_channel(&a.packets)));
        assert!(goes(&[22, 1, 2]).is_some_and(|s| s.same_channel(&a.packets)));
        assert!(t.route(true, from, &[22, 1, 2]).is_none());
        // A browser may use a port again.
        assert!(goes(&binding("bbbb:zz")).is_some_and(|s| s.same_channel(&b.packets)));
        t.remove("1");
        assert!(goes(&[22]).is_some_and(|s| s.same_channel(&b.packets)));
        t.remove("2");
        assert!(goes(&[22]).is_none() && goes(&binding("bbbb:zz")).is_none());
        let inner = t.lock();
        assert!(inner.by_address.is_empty() && inner.by_ufrag.is_empty() && inner.addresses.is_empty());
    }

    #[test]
    fn a_restarted_session_has_another_name() {
        let t = Table::default();
        let (a, _ra) = entry("aaaa");
        t.insert("1", a, 1);
        t.renamed("1", "bbbb", "cccc");
        let from: SocketAddr = "192.0.2.7:5000".parse().unwrap();
        assert!(t.route(false, from, &binding("aaaa:zz")).is_none());
        assert!(t.route(false, from, &binding("bbbb:cccc")).is_some());
        t.remove("1");
        assert!(t.lock().by_ufrag.is_empty());
    }

    #[test]
    fn a_session_has_so_many_addresses() {
        let t = Table::default();
        let (a, _ra) = entry("aaaa");
        t.insert("1", a, 1);
        for port in 0..100u16 {
            let _ = t.route(false, ([192, 0, 2, 1], port).into(), &binding("aaaa:zz"));
        }
        assert_eq!(t.lock().by_address.len(), ADDRESSES);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(data in prop::collection::vec(any::<u8>(), 0..80), cut in 0usize..60) {
            let _ = local_ufrag(&data);
            let whole = binding("aaaa:zz");
            let _ = local_ufrag(&whole[..cut.min(whole.len())]);
            let mut mixed = whole;
            mixed.splice(20.., data);
            let _ = local_ufrag(&mixed);
        }
    }
}
