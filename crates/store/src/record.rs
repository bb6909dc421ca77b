//! Typed, versioned records as JSON text: `{"v":1,"data":{…}}`.
//!
//! JSON so that `sqlite3` or `psql` shows what is stored; a version so that a record written by an
//! older Lambic is understood by a newer one. The next write stores it in the new form.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::StoreError;
use crate::engine::{Entry, Revision};
use crate::key;

/// A type that is stored. One record, one file, with its key layout and invariants.
pub trait Record: Serialize + DeserializeOwned + Send + Sync + Clone + 'static {
    /// The first part of its keys, such as `function`; never changed once released.
    const KIND: &'static str;
    /// The version that this type writes, from 1.
    const VERSION: u32;

    /// Makes the present form from what `version` (smaller than [`Record::VERSION`]) stored.
    /// The error says, for an operator, what could not be understood.
    fn upgrade(version: u32, value: serde_json::Value) -> Result<Self, String>;
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<R> {
    /// The segments of its key, without the kind.
    pub key: Vec<String>,
    /// The record.
    pub value: R,
    /// The commit that last wrote it; a transaction expects it to be unchanged.
    pub revision: Revision,
}

impl<R> Stored<R> {
    /// The segments as the other calls take them.
    pub fn segments(&self) -> Vec<&str> {
        self.key.iter().map(String::as_str).collect()
    }
}

#[derive(Serialize)]
struct Written<'a, R> {
    v: u32,
    data: &'a R,
}

#[derive(Deserialize)]
struct Read<'a> {
    v: u32,
    #[serde(borrow)]
    data: &'a RawValue,
}

pub(crate) fn encode<R: Record>(value: &R) -> Result<Vec<u8>, String> {
    serde_json::to_vec(&Written { v: R::VERSION, data: value }).map_err(|error| error.to_string())
}

pub(crate) fn decode<R: Record>(entry: &Entry) -> Result<Stored<R>, StoreError> {
    let damaged = |why: String| StoreError::Record {
        key: String::from_utf8_lossy(&entry.key).into_owned(),
        why,
    };
    let key = key::decode(&entry.key).ok_or_else(|| damaged("the key is malformed".into()))?;
    let value = decode_value::<R>(&entry.value).map_err(damaged)?;
    Ok(Stored { key, value, revision: entry.revision })
}

fn decode_value<R: Record>(bytes: &[u8]) -> Result<R, String> {
    let read: Read<'_> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if read.v == R::VERSION {
        return serde_json::from_str(read.data.get()).map_err(|error| error.to_string());
    }
    if read.v > R::VERSION {
        let (stored, known) = (read.v, R::VERSION);
        return Err(format!("it has version {stored}, this program knows up to {known}"));
    }
    let value = serde_json::from_str(read.data.get()).map_err(|error| error.to_string())?;
    R::upgrade(read.v, value)
}
