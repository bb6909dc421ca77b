//! A request's JSON body as a tree that borrows its texts from the body: a 50 MB package inside
//! a `ZipFile` member is not copied before it is decoded.
//!
//! The tree is what validation walks over and what the generated types are read from.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};

/// Most values in one body; what the API takes has a few hundred.
pub const NODES_MAX: usize = 100_000;

/// Above this many members, a map's repeated names are found by hashing.
const LINEAR_SEARCH_MAX: usize = 24;

/// One JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// An array.
    List(Vec<Tree<'a>>),
    /// An object in the order received; of a repeated name the last value stands.
    Map(Vec<(Cow<'a, str>, Tree<'a>)>),
}

impl<'a> Tree<'a> {
    /// Parses a JSON text.
    ///
    /// # Errors
    /// The parser's words when `body` is not JSON, is nested over 128 deep, or holds more than
    /// [`NODES_MAX`] values.
    pub fn parse(body: &'a [u8]) -> Result<Tree<'a>, String> {
        let nodes = Cell::new(0);
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let tree = Seed { nodes: &nodes }
            .deserialize(&mut deserializer)
            .map_err(|error| error.to_string())?;
        deserializer.end().map_err(|error| error.to_string())?;
        Ok(tree)
    }

    /// A member of an object; `None` when absent, `null`, or when this is no object.
    pub fn get(&self, name: &str) -> Option<&Tree<'a>> {
        let Tree::Map(members) = self else { return None };
        let found = members.iter().find(|(have, _)| have == name).map(|(_, value)| value);
        found.filter(|value| !matches!(value, Tree::Null))
    }
}

/// Builds one value and counts it.
struct Seed<'n> {
    nodes: &'n Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Tree<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree<'de>, D::Error> {
        self.nodes.set(self.nodes.get() + 1);
        if self.nodes.get() > NODES_MAX {
            return Err(serde::de::Error::custom("too many values in the body"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Tree<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Tree<'de>, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree<'de>, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree<'de>, E> {
        Ok(Tree::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree<'de>, E> {
        Ok(i64::try_from(value).map_or(Tree::Float(value as f64), Tree::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree<'de>, E> {
        Ok(Tree::Float(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Tree<'de>, E> {
        Ok(Tree::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree<'de>, E> {
        Ok(Tree::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Tree<'de>, E> {
        Ok(Tree::Text(Cow::Owned(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(Seed { nodes: self.nodes })? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree<'de>, A::Error> {
        let mut members: Vec<(Cow<'de, str>, Tree<'de>)> = Vec::new();
        while let Some(name) = access.next_key_seed(Name)? {
            let value = access.next_value_seed(Seed { nodes: self.nodes })?;
            members.push((name, value));
        }
        Ok(Tree::Map(without_repeats(members)))
    }
}

/// Reads a member's name without copying it where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

type Members<'a> = Vec<(Cow<'a, str>, Tree<'a>)>;

/// Of a repeated name the last value stands, at the first one's place.
fn without_repeats(members: Members<'_>) -> Members<'_> {
    if members.len() > LINEAR_SEARCH_MAX {
        return without_repeats_hashed(members);
    }
    let mut kept: Members<'_> = Vec::with_capacity(members.len());
    for (name, value) in members {
        match kept.iter_mut().find(|(have, _)| *have == name) {
            Some(slot) => slot.1 = value,
            None => kept.push((name, value)),
        }
    }
    kept
}

fn without_repeats_hashed(members: Members<'_>) -> Members<'_> {
    let mut kept: Members<'_> = Vec::with_capacity(members.len());
    let mut places: HashMap<Cow<'_, str>, usize> = HashMap::with_capacity(members.len());
    for (name, value) in members {
        match places.get(&name) {
            Some(place) => kept[*place].1 = value,
            None => {
                places.insert(name.clone(), kept.len());
                kept.push((name, value));
            }
        }
    }
    kept
}

/// The error of reading a type from a tree that the type check has let through.
#[derive(Debug, PartialEq)]
pub struct ReadError(String);

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ReadError {}

impl serde::de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> ReadError {
        ReadError(message.to_string())
    }
}

impl<'de> IntoDeserializer<'de, ReadError> for Tree<'de> {
    type Deserializer = Tree<'de>;

    fn into_deserializer(self) -> Tree<'de> {
        self
    }
}

impl<'de> Deserializer<'de> for Tree<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self {
            Tree::Null => visitor.visit_unit(),
            Tree::Bool(value) => visitor.visit_bool(value),
            Tree::Int(value) => visitor.visit_i64(value),
            Tree::Float(value) => visitor.visit_f64(value),
            Tree::Text(Cow::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Tree::Text(Cow::Owned(text)) => visitor.visit_string(text),
            Tree::List(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter())),
            Tree::Map(members) => visitor.visit_map(MapDeserializer::new(
                members.into_iter().map(|(name, value)| (Tree::Text(name), value)),
            )),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self {
            Tree::Null => visitor.visit_none(),
            other => visitor.visit_some(other),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_borrowed_and_the_last_of_a_name_stands() {
        let tree = Tree::parse(br#"{"a":"x","b":1.5,"a":"y","c":null}"#).unwrap();
        assert_eq!(tree.get("a"), Some(&Tree::Text(Cow::Borrowed("y"))));
        assert_eq!(tree.get("b"), Some(&Tree::Float(1.5)));
        assert_eq!(tree.get("c"), None);
        let Some(Tree::Text(Cow::Borrowed(_))) = tree.get("a") else { panic!("copied") };
    }

    #[test]
    fn many_repeats_do_not_cost_their_square() {
        let mut body = String::from("{");
        for index in 0..40_000 {
            body.push_str(&format!("\"k{}\":{index},", index % 20_000));
        }
        body.push_str("\"z\":0}");
        let tree = Tree::parse(body.as_bytes()).unwrap();
        assert_eq!(tree.get("k0"), Some(&Tree::Int(20_000)));
    }

    #[test]
    fn too_many_values_are_refused() {
        let body = format!("[{}0]", "0,".repeat(NODES_MAX));
        assert!(Tree::parse(body.as_bytes()).unwrap_err().starts_with("too many values"));
    }
}
