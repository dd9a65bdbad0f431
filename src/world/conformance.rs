//! What every [`Store`] must do; each implementation's tests call it.

use std::io::ErrorKind;

use crate::{Body, Object, Store};

fn read(s: &dyn Store, key: &str, offset: u64, len: usize) -> std::io::Result<Vec<u8>> {
    let mut b = vec![0; len];
    s.read_exact_at(key, &mut b, offset).map(|()| b)
}

/// Fails (panics) at the first thing that is not as [`Store`] says. `s` must be empty, and is left so.
pub fn store(s: &dyn Store) {
    let keys = |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
        s.list(prefix, after, limit).expect("list").into_iter().map(|o| o.key).collect()
    };
    assert!(keys("", None, 10).is_empty(), "the store is not empty");
    assert_eq!(s.len("a/x").expect("len"), None);
    s.delete("a/x").expect("removing what is not there is fine");
    let missing = read(s, "a/x", 0, 1).expect_err("there is no such object");
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
    assert!(missing.to_string().contains("a/x"), "an error names the object: {missing}");

    let big: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    s.put("a/x", Body::Bytes(&big)).expect("put");
    assert_eq!(s.len("a/x").expect("len"), Some(big.len() as u64));
    assert_eq!(read(s, "a/x", 0, big.len()).expect("all of it"), big);
    assert_eq!(read(s, "a/x", 2_999_000, 1000).expect("its end"), big[2_999_000..]);
    assert_eq!(read(s, "a/x", 5, 0).expect("nothing"), []);
    let beyond = read(s, "a/x", 2_999_999, 2).expect_err("beyond its end");
    assert_eq!(beyond.kind(), ErrorKind::UnexpectedEof, "{beyond}");
    let beyond = read(s, "a/x", 9_000_000, 2).expect_err("far beyond its end");
    assert_eq!(beyond.kind(), ErrorKind::UnexpectedEof, "{beyond}");

    s.put("a/x", Body::Bytes(b"other")).expect("put in its place");
    assert_eq!(read(s, "a/x", 0, 5).expect("the new one"), b"other");
    s.create("a/y", b"first").expect("create");
    let again = s.create("a/y", b"second").expect_err("it exists");
    assert_eq!(again.kind(), ErrorKind::AlreadyExists, "{again}");
    assert_eq!(read(s, "a/y", 0, 5).expect("the first one"), b"first");
    s.put("a/empty", Body::Bytes(b"")).expect("put nothing");
    assert_eq!(s.len("a/empty").expect("len"), Some(0));

    s.put("b", Body::Bytes(b"1")).expect("put");
    s.put("ab/c", Body::Bytes(b"22")).expect("put");
    assert_eq!(keys("", None, 10), ["a/empty", "a/x", "a/y", "ab/c", "b"]);
    assert_eq!(keys("a/", None, 10), ["a/empty", "a/x", "a/y"]);
    assert_eq!(keys("a/", Some("a/empty"), 1), ["a/x"]);
    assert_eq!(keys("a/", Some("a/y"), 10), [] as [&str; 0]);
    assert_eq!(s.list("ab/", None, 10).expect("list"), [Object { key: "ab/c".into(), len: 2 }]);
    for k in ["a/empty", "a/x", "a/y", "ab/c", "b"] {
        s.delete(k).expect("delete");
    }
    assert!(keys("", None, 10).is_empty(), "something was not deleted");
    assert_eq!(s.len("a/x").expect("len"), None);
}
