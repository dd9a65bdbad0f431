//! Structures that are written as such: serde's derived code takes a list of its members for one, AWS does not.
//!
//! [`Shaped`] is read as what is in it, by a deserializer that passes all on but lists where a structure is due. Texts and bytes stay
//! where they are in the request. What is read as anything (`deserialize_any`), enums and tuples are left alone: inputs
//! have none with a structure in it. CBOR needs none of this: `ciborium` itself takes only maps.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, Error as _, MapAccess, SeqAccess, Unexpected, Visitor},
};

/// Any type, without lists for structures in it.
pub(crate) struct Shaped<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shaped<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        T::deserialize(Strict(d)).map(Shaped)
    }
}

struct Strict<D>(D);

/// As they are: nothing lies within these, or nothing that is a structure.
macro_rules! plain {
    ($($method:ident($($name:ident: $ty:ty),*))*) => {
        $(fn $method<V: Visitor<'de>>(self, $($name: $ty,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($name,)* visitor)
        })*
    };
}

/// What may have structures within.
macro_rules! within {
    ($($method:ident($($name:ident: $ty:ty),*) $list:literal)*) => {
        $(fn $method<V: Visitor<'de>>(self, $($name: $ty,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($name,)* Within::<V, $list>(visitor))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    plain! {
        deserialize_any() deserialize_ignored_any() deserialize_identifier()
        deserialize_bool() deserialize_char() deserialize_str() deserialize_string() deserialize_bytes() deserialize_byte_buf()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_unit() deserialize_unit_struct(name: &'static str)
        deserialize_tuple(len: usize) deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }
    within! {
        deserialize_option() true deserialize_newtype_struct(name: &'static str) true
        deserialize_seq() true deserialize_map() true
        deserialize_struct(name: &'static str, fields: &'static [&'static str]) false
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// A visitor, and whether a list is for it.
struct Within<V, const LIST: bool>(V);

macro_rules! values {
    ($($method:ident: $ty:ty)*) => {
        $(fn $method<E: de::Error>(self, v: $ty) -> Result<V::Value, E> {
            self.0.$method(v)
        })*
    };
}

impl<'de, V: Visitor<'de>, const LIST: bool> Visitor<'de> for Within<V, LIST> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    values! {
        visit_bool: bool visit_i64: i64 visit_u64: u64 visit_i128: i128 visit_u128: u128 visit_f64: f64 visit_char: char
        visit_str: &str visit_borrowed_str: &'de str visit_string: String
        visit_bytes: &[u8] visit_borrowed_bytes: &'de [u8] visit_byte_buf: Vec<u8>
    }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }
    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }
    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Strict(d))
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, d: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Strict(d))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        if LIST {
            self.0.visit_seq(Elements(list))
        } else {
            Err(A::Error::invalid_type(Unexpected::Seq, &self))
        }
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Elements(map))
    }
}

struct Elements<A>(A);

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Elements<A> {
    type Error = A::Error;
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Seed(seed))
    }
    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Elements<A> {
    type Error = A::Error;
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Seed(seed))
    }
    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

struct Seed<S>(S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<S> {
    type Value = S::Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Strict(d))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::aws::{Protocol, few};

    #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Inner {
        a: Option<String>,
        b: Option<i64>,
    }

    #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Outer {
        one: Option<Inner>,
        bare: Inner,
        #[serde(deserialize_with = "few")]
        many: Option<Vec<Inner>>,
        plain: Option<Vec<Inner>>,
        #[serde(deserialize_with = "few")]
        named: Option<BTreeMap<String, Inner>>,
        deep: Option<Box<Outer>>,
        flags: Option<Vec<bool>>,
    }

    /// What each protocol makes of it: the structure, or the error.
    fn read(v: &Value) -> Vec<Result<Outer, String>> {
        let mut cbor = Vec::new();
        ciborium::into_writer(v, &mut cbor).unwrap();
        let json = serde_json::to_vec(v).unwrap();
        let mut out: Vec<_> =
            [Protocol::Json10, Protocol::Json11, Protocol::Rest].map(|p| p.decode(&json)).into();
        out.push(Protocol::Cbor.decode(&cbor));
        // Of an operation some of whose members are bound.
        let bound: Map<String, Value> = [("elsewhere".to_owned(), json!(1))].into_iter().collect();
        out.push(Protocol::Rest.decode_with(&json, bound));
        out.into_iter().map(|r| r.map_err(|e| format!("{}: {}", e.code, e.message))).collect()
    }

    const REFUSED: &str = "SerializationException: Start of list found where not expected";

    #[test]
    fn a_list_is_no_structure_wherever_one_is_due() {
        for list in [json!([]), json!(["x"]), json!(["x", 1])] {
            assert!(
                read(&list)
                    .iter()
                    .all(|r| r.as_ref().is_err_and(|e| e.starts_with("SerializationException")))
            );
            for body in [
                json!({"one": list}),
                json!({"bare": list}),
                json!({"many": [{}, list]}),
                json!({"plain": [list]}),
                json!({"named": {"k": list}}),
                json!({"deep": list}),
                json!({"deep": {"deep": {"many": [list]}}}),
            ] {
                for got in read(&body) {
                    assert_eq!(got, Err(REFUSED.into()), "{body}");
                }
            }
        }
        // Where nothing is due it may be anything.
        let body = json!({"unknown": [[], {"one": []}], "flags": [true], "one": null, "many": []});
        for got in read(&body) {
            let wanted = Outer { flags: Some(vec![true]), many: Some(vec![]), ..Outer::default() };
            assert_eq!(got, Ok(wanted));
        }
    }

    /// A structure that is right, or a list of as many of its members; and whether it is right.
    fn inner() -> impl Strategy<Value = (Value, bool)> {
        let list = prop_oneof![9 => Just(None), 1 => (0..3usize).prop_map(Some)];
        (list, "\\PC{0,5}", any::<i64>()).prop_map(|(list, a, b)| match list {
            None => (json!({"a": a, "b": b, "c": []}), true),
            Some(n) => (Value::from_iter([json!(a), json!(b)].into_iter().take(n)), false),
        })
    }

    fn outer() -> impl Strategy<Value = (Value, bool)> {
        let some = || prop::collection::vec(inner(), 0..4);
        let flat = (prop::option::of(inner()), inner(), some(), some(), some());
        let flat = flat.prop_map(|(one, bare, many, plain, named)| {
            let right = {
                let mut all = one.iter().chain([&bare]).chain(&many).chain(&plain).chain(&named);
                all.all(|i| i.1)
            };
            let list = |of: Vec<(Value, bool)>| Value::from_iter(of.into_iter().map(|i| i.0));
            let names = named.into_iter().enumerate().map(|(n, i)| (n.to_string(), i.0));
            let named: Map<String, Value> = names.collect();
            let (one, many, plain) = (one.map(|i| i.0), list(many), list(plain));
            let value = json!({"one": one, "bare": bare.0, "many": many, "plain": plain, "named": named});
            (value, right)
        });
        let flat = flat.boxed();
        flat.clone().prop_recursive(3, 20, 1, move |deep| {
            (flat.clone(), deep).prop_map(|((mut value, right), (within, too))| {
                value["deep"] = within;
                (value, right && too)
            })
        })
    }

    proptest! {
        /// What has no list for a structure is read as serde reads it; all else is refused.
        #[test]
        fn whatever_is_right_is_read_as_ever((body, right) in outer()) {
            for got in read(&body) {
                match right {
                    true => prop_assert_eq!(got, Ok(serde_json::from_value(body.clone()).unwrap())),
                    false => prop_assert_eq!(got, Err(REFUSED.to_owned())),
                }
            }
        }
    }
}
