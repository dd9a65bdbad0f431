//! What violates a service's model, in AWS's words.

use std::{collections::BTreeMap, fmt, sync::OnceLock};

use regex::Regex;

use super::{AwsError, Blob};

/// AWS reports no more than so many at once.
const MOST: usize = 10;
/// Values are quoted up to so many bytes.
const LONGEST_VALUE: usize = 2048;

/// A pattern of a model: Java's, and it must match the whole text. Made once, as a `static`.
pub struct Pattern {
    text: &'static str,
    regex: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// As the model has it. What is not a pattern matches nothing.
    pub const fn new(text: &'static str) -> Pattern {
        Pattern { text, regex: OnceLock::new() }
    }
    /// Whether the whole of `s` matches.
    pub fn matches(&self, s: &str) -> bool {
        let compiled = self.regex.get_or_init(|| {
            // Java's classes are ASCII.
            let text = self.text.replace(r"\d", "[0-9]").replace(r"\w", "[a-zA-Z_0-9]");
            let text = text.replace(r"\S", r"[^ \t\n\x0B\x0C\r]").replace(r"\s", r"[ \t\n\x0B\x0C\r]");
            Regex::new(&format!(r"\A(?:{text})\z")).ok()
        });
        compiled.as_ref().is_some_and(|r| r.is_match(s))
    }
    /// Whether it is one at all; for tests.
    pub fn is_good(&self) -> bool {
        self.matches("");
        self.regex.get().is_some_and(Option::is_some)
    }
}

/// Collects what violates the model. [`crate::aws::Input::check`] fills it.
#[derive(Default)]
pub struct Violations {
    /// The way to the structure that is looked at. In words only once something is wrong: records come by the hundred.
    path: Vec<Step>,
    found: Vec<String>,
    /// Beyond [`MOST`].
    more: bool,
}

/// From a structure to one within it.
enum Step {
    Member(&'static str),
    /// Counted from zero.
    Element(&'static str, usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Member(name) => write!(f, "{name}."),
            Step::Element(name, i) => write!(f, "{name}.{}.member.", i + 1),
        }
    }
}

/// How a value is shown.
pub trait Shown {
    /// As Java's `toString` would show it; by default as a structure of the Kinesis model.
    fn shown(&self) -> String {
        let name = std::any::type_name::<Self>().rsplit("::").next().unwrap_or_default();
        format!("com.amazonaws.kinesis.v20131202.{name}@0")
    }
}

impl Shown for str {
    fn shown(&self) -> String {
        self.to_owned()
    }
}
impl Shown for String {
    fn shown(&self) -> String {
        self.clone()
    }
}
impl Shown for i64 {
    fn shown(&self) -> String {
        self.to_string()
    }
}
impl Shown for bool {
    fn shown(&self) -> String {
        self.to_string()
    }
}
impl Shown for Blob {
    fn shown(&self) -> String {
        let n = self.len();
        format!("java.nio.HeapByteBuffer[pos=0 lim={n} cap={n}]")
    }
}
impl<T: Shown> Shown for [T] {
    fn shown(&self) -> String {
        join('[', self.iter().map(Shown::shown), ']')
    }
}
impl<V: Shown> Shown for BTreeMap<String, V> {
    fn shown(&self) -> String {
        join('{', self.iter().map(|(k, v)| format!("{k}={}", v.shown())), '}')
    }
}
impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| "null".into(), Shown::shown)
    }
}

/// Stops once nobody will see the rest.
fn join(open: char, parts: impl Iterator<Item = String>, close: char) -> String {
    let mut out = String::from(open);
    for (i, p) in parts.enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        out.push_str(&p);
        if out.len() > LONGEST_VALUE {
            return out;
        }
    }
    out.push(close);
    out
}

fn cut(mut s: String) -> String {
    if s.len() > LONGEST_VALUE {
        let mut end = LONGEST_VALUE;
        while !s.is_char_boundary(end) {
            end -= 1;
        }
        s.truncate(end);
        s.push('…');
    }
    s
}

/// One member of a structure: asked of it what the model asks, in AWS's order (null, pattern, lengths).
pub struct Member<'v, 'a, T: ?Sized> {
    v: &'v mut Violations,
    name: &'static str,
    value: Option<&'a T>,
}

impl Violations {
    fn member<'v, 'a, T: ?Sized>(
        &'v mut self,
        name: &'static str,
        value: Option<&'a T>,
    ) -> Member<'v, 'a, T> {
        Member { v: self, name, value }
    }
    /// A text. Names as on the wire with a small first letter: `streamName`.
    pub fn text<'a>(&mut self, name: &'static str, value: &'a Option<String>) -> Member<'_, 'a, str> {
        self.member(name, value.as_deref())
    }
    /// A whole number.
    pub fn number<'a>(&mut self, name: &'static str, value: &'a Option<i64>) -> Member<'_, 'a, i64> {
        self.member(name, value.as_ref())
    }
    /// Bytes.
    pub fn blob<'a>(&mut self, name: &'static str, value: &'a Option<Blob>) -> Member<'_, 'a, Blob> {
        self.member(name, value.as_ref())
    }
    /// A list.
    pub fn list<'a, T>(&mut self, name: &'static str, value: &'a Option<Vec<T>>) -> Member<'_, 'a, [T]> {
        self.member(name, value.as_deref())
    }
    /// A map from texts.
    pub fn map<'a, V>(
        &mut self,
        name: &'static str,
        value: &'a Option<BTreeMap<String, V>>,
    ) -> Member<'_, 'a, BTreeMap<String, V>> {
        self.member(name, value.as_ref())
    }
    /// Anything else, such as a structure, a time or a truth value.
    pub fn any<'a, T>(&mut self, name: &'static str, value: &'a Option<T>) -> Member<'_, 'a, T> {
        self.member(name, value.as_ref())
    }

    fn add(&mut self, name: &str, value: &dyn Fn() -> Option<String>, constraint: fmt::Arguments<'_>) {
        if self.found.len() >= MOST {
            self.more = true;
            return;
        }
        let value = value().map_or_else(|| "null".into(), |v| format!("'{}'", cut(v)));
        let path: String = self.path.iter().map(Step::to_string).collect();
        self.found
            .push(format!("Value {value} at '{path}{name}' failed to satisfy constraint: {constraint}"));
    }

    fn within(&mut self, step: Step, f: impl FnOnce(&mut Violations)) {
        self.path.push(step);
        f(self);
        self.path.pop();
    }

    /// `ValidationException` if there were any.
    pub fn into_result(self) -> Result<(), AwsError> {
        let n = self.found.len();
        if n == 0 {
            return Ok(());
        }
        let s = if n == 1 { "" } else { "s" };
        Err(AwsError::validation(format!("{n} validation error{s} detected: {}", self.found.join("; "))))
    }
}

/// Java counts UTF-16 units.
fn units(s: &str) -> usize {
    if s.is_ascii() { s.len() } else { s.encode_utf16().count() }
}

impl<'a, T: ?Sized> Member<'_, 'a, T> {
    /// Must be there.
    pub fn required(self) -> Self {
        if self.value.is_none() {
            self.v.add(self.name, &|| None, format_args!("Member must not be null"));
        }
        self
    }
    /// The members of a structure.
    pub fn nested(self, f: impl FnOnce(&'a T, &mut Violations)) -> Self {
        if let Some(t) = self.value {
            self.v.within(Step::Member(self.name), |v| f(t, v));
        }
        self
    }
}

impl<T: Shown + ?Sized> Member<'_, '_, T> {
    fn hold(self, f: impl Fn(&T) -> bool, constraint: fmt::Arguments<'_>) -> Self {
        if let Some(t) = self.value
            && !f(t)
        {
            self.v.add(self.name, &|| Some(t.shown()), constraint);
        }
        self
    }
    fn lengths(self, of: impl Fn(&T) -> usize, min: usize, max: usize) -> Self {
        self.hold(|t| of(t) <= max, format_args!("Member must have length less than or equal to {max}"))
            .hold(|t| of(t) >= min, format_args!("Member must have length greater than or equal to {min}"))
    }
}

impl Member<'_, '_, str> {
    /// Must match as a whole.
    pub fn pattern(self, p: &Pattern) -> Self {
        self.hold(
            |s| p.matches(s),
            format_args!("Member must satisfy regular expression pattern: {}", p.text),
        )
    }
    /// Characters, as Java counts them.
    pub fn length(self, min: usize, max: usize) -> Self {
        self.lengths(units, min, max)
    }
    /// One of an enumeration.
    pub fn one_of(self, values: &[&str]) -> Self {
        self.hold(
            |s| values.contains(&s),
            format_args!("Member must satisfy enum value set: [{}]", values.join(", ")),
        )
    }
}

impl Member<'_, '_, Blob> {
    /// Bytes.
    pub fn length(self, min: usize, max: usize) -> Self {
        self.lengths(|b| b.len(), min, max)
    }
}

impl Member<'_, '_, i64> {
    /// At least.
    pub fn min(self, min: i64) -> Self {
        self.hold(|n| *n >= min, format_args!("Member must have value greater than or equal to {min}"))
    }
    /// At most.
    pub fn max(self, max: i64) -> Self {
        self.hold(|n| *n <= max, format_args!("Member must have value less than or equal to {max}"))
    }
    /// Both, included.
    pub fn range(self, min: i64, max: i64) -> Self {
        self.max(max).min(min)
    }
}

impl<T: Shown> Member<'_, '_, [T]> {
    /// How many elements.
    pub fn count(self, min: usize, max: usize) -> Self {
        self.lengths(<[T]>::len, min, max)
    }
}

impl<'a, T> Member<'_, 'a, [T]> {
    /// Each element's members, under `name.1.member` and so on.
    pub fn each(self, f: impl Fn(&'a T, &mut Violations)) -> Self {
        for (i, t) in self.value.into_iter().flatten().enumerate() {
            if self.v.more {
                break;
            }
            self.v.within(Step::Element(self.name, i), |v| f(t, v));
        }
        self
    }
}

fn lengths_words(min: usize, max: usize) -> String {
    format!(
        "[Member must have length less than or equal to {max}, Member must have length greater than or equal to {min}]"
    )
}

impl Member<'_, '_, [String]> {
    /// Each element's length.
    pub fn each_length(self, min: usize, max: usize) -> Self {
        self.hold(
            |l| l.iter().all(|s| (min..=max).contains(&units(s))),
            format_args!("Member must satisfy constraint: {}", lengths_words(min, max)),
        )
    }
    /// Each element is one of an enumeration.
    pub fn each_one_of(self, values: &[&str]) -> Self {
        self.hold(
            |l| l.iter().all(|s| values.contains(&s.as_str())),
            format_args!(
                "Member must satisfy constraint: [Member must satisfy enum value set: [{}]]",
                values.join(", ")
            ),
        )
    }
}

impl<V: Shown> Member<'_, '_, BTreeMap<String, V>> {
    /// How many entries.
    pub fn count(self, min: usize, max: usize) -> Self {
        self.lengths(BTreeMap::len, min, max)
    }
    /// Each key's length.
    pub fn keys_length(self, min: usize, max: usize) -> Self {
        self.hold(
            |m| m.keys().all(|k| (min..=max).contains(&units(k))),
            format_args!("Map keys must satisfy constraint: {}", lengths_words(min, max)),
        )
    }
}

impl Member<'_, '_, BTreeMap<String, String>> {
    /// Each value's length.
    pub fn values_length(self, min: usize, max: usize) -> Self {
        self.hold(
            |m| m.values().all(|k| (min..=max).contains(&units(k))),
            format_args!("Map value must satisfy constraint: {}", lengths_words(min, max)),
        )
    }
}
