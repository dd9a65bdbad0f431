//! Lists and maps of inputs: what is beyond anything that a model allows is counted out and not kept, as an element takes a byte
//! or two on the wire and many times that here.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny},
};

/// Elements that are kept: more than any list of a model may have, so that too many are still seen to be too many.
pub const KEPT: usize = 4096;

/// A list, or a map from texts.
pub trait Few<'de>: Sized {
    /// Reads it to its end, and keeps its beginning.
    fn few<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error>;
}

/// For members that are lists or maps: `#[serde(deserialize_with = "wire::aws::few")]`.
pub fn few<'de, D: Deserializer<'de>, C: Few<'de>>(d: D) -> Result<Option<C>, D::Error> {
    struct Kept<C>(C);
    impl<'de, C: Few<'de>> Deserialize<'de> for Kept<C> {
        fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            C::few(d).map(Kept)
        }
    }
    Ok(Option::<Kept<C>>::deserialize(d)?.map(|k| k.0))
}

struct List<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for List<T> {
    type Value = Vec<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }
    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        // No list of ours is as long as it may say that it is.
        let mut list = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(64));
        while list.len() < KEPT {
            match seq.next_element()? {
                Some(t) => list.push(t),
                None => return Ok(list),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(list)
    }
}

impl<'de, T: Deserialize<'de>> Few<'de> for Vec<T> {
    fn few<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_seq(List(PhantomData))
    }
}

struct Map<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> de::Visitor<'de> for Map<V> {
    type Value = BTreeMap<String, V>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }
    fn visit_map<A: de::MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while map.len() < KEPT {
            match entries.next_entry()? {
                Some((k, v)) => drop(map.insert(k, v)),
                None => return Ok(map),
            }
        }
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(map)
    }
}

impl<'de, V: Deserialize<'de>> Few<'de> for BTreeMap<String, V> {
    fn few<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(Map(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::Protocol;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Input {
        #[serde(deserialize_with = "few")]
        list: Option<Vec<String>>,
        #[serde(deserialize_with = "few")]
        map: Option<BTreeMap<String, i64>>,
        after: Option<i64>,
    }

    fn of(list: usize, map: usize) -> serde_json::Value {
        let list: Vec<String> = (0..list).map(|n| n.to_string()).collect();
        let map: BTreeMap<String, usize> = (0..map).map(|n| (n.to_string(), n)).collect();
        serde_json::json!({"list": list, "map": map, "after": 7})
    }

    fn read(v: &serde_json::Value) -> [Input; 2] {
        let mut cbor = Vec::new();
        ciborium::into_writer(v, &mut cbor).unwrap();
        let json = serde_json::to_vec(v).unwrap();
        [Protocol::Json11.decode(&json).unwrap(), Protocol::Cbor.decode(&cbor).unwrap()]
    }

    #[test]
    fn what_is_kept_of_many_is_the_beginning() {
        for (list, map) in [(0, 0), (1, 3), (KEPT, KEPT), (KEPT + 1, KEPT + 1), (100_000, 100_000)] {
            for i in read(&of(list, map)) {
                let got = i.list.unwrap();
                assert_eq!((got.len(), i.map.unwrap().len()), (list.min(KEPT), map.min(KEPT)));
                assert!(got.iter().enumerate().all(|(n, s)| *s == n.to_string()));
                assert_eq!(i.after, Some(7));
            }
        }
    }

    #[test]
    fn none_is_none_and_what_is_neither_is_told_as_ever() {
        for i in read(&serde_json::json!({"list": null})) {
            assert_eq!(i, Input::default());
        }
        for (text, words) in [
            (r#"{"list": 5}"#, "Expected list or null"),
            (r#"{"map": "x"}"#, "Expected map or null"),
            (r#"{"list": [5]}"#, "NUMBER_VALUE can not be converted to a String"),
        ] {
            let e = Protocol::Json11.decode::<Input>(text.as_bytes()).unwrap_err();
            assert_eq!((e.code, e.message.as_str()), ("SerializationException", words));
        }
    }
}
