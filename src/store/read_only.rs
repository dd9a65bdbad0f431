//! A store to look at.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
};

use world::{Body, Object, Store};

use crate::error;

/// Refuses whatever would change it.
pub(crate) struct ReadOnly(pub Arc<dyn Store>);

impl ReadOnly {
    fn refused<T>(&self, key: &str) -> io::Result<T> {
        let url = format!("{}/{key}", self.0.url());
        Err(error::plain(ErrorKind::Unsupported, url, "the store was opened to be read only"))
    }
}

impl Store for ReadOnly {
    fn url(&self) -> String {
        self.0.url()
    }
    fn put(&self, key: &str, _: Body<'_>) -> io::Result<()> {
        self.refused(key)
    }
    fn create(&self, key: &str, _: &[u8]) -> io::Result<()> {
        self.refused(key)
    }
    fn read_exact_at(&self, key: &str, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(key, buf, offset)
    }
    fn len(&self, key: &str) -> io::Result<Option<u64>> {
        self.0.len(key)
    }
    fn delete(&self, key: &str) -> io::Result<()> {
        self.refused(key)
    }
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> io::Result<Vec<Object>> {
        self.0.list(prefix, after, limit)
    }
}
