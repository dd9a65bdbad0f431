//! [`world::Store`] over the `object_store` crate.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
    list::{PaginatedListOptions, PaginatedListStore},
    path::Path as Key,
};
use tokio::runtime::Runtime;
use world::{Body, Object, Store};

use crate::{OpenError, Options, error};

/// Which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    S3,
    Google,
    Azure,
}

/// The size of a part of an object too large for one request: of at most 10,000, and of at least 5 MiB but the last.
const PART: usize = 64 << 20;
const LEAST_PART: usize = 5 << 20;
/// A body is handed over in slices of so much, so that no layer copies it whole.
const SLICE: usize = 1 << 20;
/// Bytes a second that a line is allowed to be slow.
const SLOWEST: u64 = 64 << 10;
/// The most keys that a server lists at once.
const PAGE: usize = 1000;

/// A bucket, or a prefix of one.
pub(crate) struct Remote {
    service: Service,
    url: String,
    /// Empty, or with a `/` at its end.
    prefix: String,
    store: Arc<dyn ObjectStore>,
    pages: Arc<dyn PaginatedListStore>,
    /// The same bucket, without retries.
    once: Arc<dyn ObjectStore>,
    timeout: Duration,
    conditional: bool,
    largest_put: u64,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Drop for Remote {
    fn drop(&mut self) {
        // Without waiting: it may be dropped where blocking is not allowed.
        if let Some(r) = self.runtime.take() {
            r.shutdown_background();
        }
    }
}

impl Remote {
    pub(crate) fn new(
        service: Service,
        url: String,
        prefix: String,
        store: Arc<dyn ObjectStore>,
        pages: Arc<dyn PaginatedListStore>,
        once: Arc<dyn ObjectStore>,
        o: &Options,
    ) -> Result<Remote, OpenError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("store")
            .enable_all()
            .build()
            .map_err(OpenError::Threads)?;
        Ok(Remote {
            service,
            url,
            prefix,
            store,
            pages,
            once,
            timeout: o.request_timeout,
            conditional: o.conditional_writes,
            largest_put: o.largest_put,
            runtime: Some(runtime),
        })
    }

    fn at(&self, key: &str) -> String {
        format!("{}/{key}", self.url)
    }

    fn path(&self, key: &str) -> io::Result<Key> {
        let wrong = |why: String| error::plain(ErrorKind::InvalidInput, self.at(key), &why);
        let path = Key::parse(format!("{}{key}", self.prefix)).map_err(|e| wrong(e.to_string()))?;
        // What is normalised would be listed under another name.
        if key.is_empty() || path.as_ref().len() != self.prefix.len() + key.len() {
            return Err(wrong("is not a key".into()));
        }
        Ok(path)
    }

    /// Waits for a request about so many bytes.
    fn wait<T>(
        &self,
        key: &str,
        bytes: u64,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> io::Result<T> {
        let within = self.timeout + Duration::from_secs(bytes / SLOWEST);
        let runtime = self.runtime.as_ref().ok_or_else(|| io::Error::other("the store is closed"))?;
        match runtime.handle().block_on(async { tokio::time::timeout(within, request).await }) {
            Ok(Ok(v)) => Ok(v),
            Ok(Err(e)) => Err(error::of(self.at(key), e)),
            Err(_) => Err(error::late(self.at(key), within.as_secs_f32())),
        }
    }

    fn write(&self, key: &str, path: &Key, body: Bytes) -> io::Result<()> {
        let len = body.len() as u64;
        if len <= self.largest_put {
            return self.wait(key, len, self.store.put(path, payload(&body))).map(|_| ());
        }
        let mut upload = self.wait(key, 0, self.store.put_multipart(path))?;
        let most = usize::try_from(self.largest_put).unwrap_or(PART).clamp(LEAST_PART, PART);
        let mut at = 0;
        let done = loop {
            if at == body.len() {
                break self.wait(key, 0, upload.complete());
            }
            let part = body.slice(at..body.len().min(at + most));
            if let Err(e) = self.wait(key, part.len() as u64, upload.put_part(payload(&part))) {
                break Err(e);
            }
            at += part.len();
        };
        if done.is_err() {
            // Parts cost room until they are given up; a rule of the bucket removes what this does not reach.
            let _ = self.wait(key, 0, upload.abort());
        }
        done.map(|_| ())
    }
}

fn payload(body: &Bytes) -> PutPayload {
    (0..body.len()).step_by(SLICE).map(|at| body.slice(at..body.len().min(at + SLICE))).collect()
}

impl Store for Remote {
    fn url(&self) -> String {
        self.url.clone()
    }

    fn put(&self, key: &str, body: Body<'_>) -> io::Result<()> {
        let path = self.path(key)?;
        let bytes = match body {
            Body::Bytes(b) => Bytes::copy_from_slice(b),
            Body::File(f, len) => f.bytes(len)?,
        };
        self.write(key, &path, bytes)
    }

    fn create(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(key)?;
        let body = Bytes::copy_from_slice(bytes);
        if !self.conditional {
            return match self.len(key)? {
                Some(_) => Err(error::plain(ErrorKind::AlreadyExists, self.at(key), "exists")),
                None => self.write(key, &path, body),
            };
        }
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let request = self.once.put_opts(&path, payload(&body), options);
        self.wait(key, body.len() as u64, request).map(|_| ())
    }

    fn read_exact_at(&self, key: &str, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let path = self.path(key)?;
        let (len, short) = (buf.len() as u64, "is shorter than that");
        let eof = || error::plain(ErrorKind::UnexpectedEof, self.at(key), short);
        let end = offset.checked_add(len).ok_or_else(eof)?;
        if buf.is_empty() {
            return Ok(());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(offset..end)), ..GetOptions::default() };
        let filled = self.wait(key, len, async {
            let mut stream = self.store.get_opts(&path, options).await?.into_stream();
            let mut at = 0;
            while let Some(piece) = stream.try_next().await? {
                // No more than was asked for, whatever is sent.
                let n = piece.len().min(buf.len() - at);
                buf[at..at + n].copy_from_slice(&piece[..n]);
                at += n;
                if n < piece.len() {
                    break;
                }
            }
            Ok(at)
        })?;
        if filled < buf.len() { Err(eof()) } else { Ok(()) }
    }

    fn len(&self, key: &str) -> io::Result<Option<u64>> {
        let path = self.path(key)?;
        match self.wait(key, 0, self.store.head(&path)) {
            Ok(meta) => Ok(Some(meta.size)),
            // The answer to HEAD has no body that would say whether it is the object that is missing, or the bucket.
            Err(e) if e.kind() == ErrorKind::NotFound => self.list(key, None, 1).map(|_| None),
            Err(e) => Err(e),
        }
    }

    fn delete(&self, key: &str) -> io::Result<()> {
        let path = self.path(key)?;
        match self.wait(key, 0, self.store.delete(&path)) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            r => r,
        }
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> io::Result<Vec<Object>> {
        let full = format!("{}{prefix}", self.prefix);
        // Not everyone begins where it is told (Azure's emulator does not): what is before is left out here, too, and
        // is then passed over in large steps.
        let offset = after.map(|a| format!("{}{a}", self.prefix));
        let obeys = self.service == Service::S3 || after.is_none();
        let mut out: Vec<Object> = Vec::new();
        let mut page_token: Option<String> = None;
        while out.len() < limit {
            let options = PaginatedListOptions {
                offset: offset.clone().filter(|_| page_token.is_none()),
                max_keys: Some(if obeys { PAGE.min(limit - out.len()) } else { PAGE }),
                page_token: page_token.take(),
                ..PaginatedListOptions::default()
            };
            let some = (!full.is_empty()).then_some(full.as_str());
            let page = self.wait(prefix, 0, self.pages.list_paginated(some, options))?;
            for o in page.result.objects {
                let Some(key) = o.location.as_ref().strip_prefix(&self.prefix) else { continue };
                if key.starts_with(prefix) && after.is_none_or(|a| key > a) {
                    out.push(Object { key: key.to_owned(), len: o.size });
                }
            }
            page_token = page.page_token;
            if page_token.is_none() {
                break;
            }
        }
        out.truncate(limit);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_handed_over_in_slices_without_a_copy() {
        let body = Bytes::from(vec![7; 2 * SLICE + 5]);
        let p = payload(&body);
        assert_eq!(p.content_length(), body.len());
        let slices: Vec<_> = p.iter().map(Bytes::len).collect();
        assert_eq!(slices, [SLICE, SLICE, 5]);
        assert_eq!(p.iter().next().map(|b| b.as_ptr()), Some(body.as_ptr()));
        assert_eq!(payload(&Bytes::new()).content_length(), 0);
    }
}
