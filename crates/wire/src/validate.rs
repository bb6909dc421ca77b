//! Constraint validation in AWS's words: every violation of a request is found, named by its
//! member's path, and joined into one `ValidationException`.
//!
//! The tables are generated from AWS's model. They are necessary, not sufficient: quotas that
//! AWS checks later, with other words, stand by hand in the services.

mod check;
mod texts;
mod types;

use std::sync::OnceLock;

use fancy_regex::Regex;

pub use check::violations;
pub use types::normalize;

/// A regular expression as AWS writes it and as it is run.
#[derive(Debug)]
pub struct Pattern {
    /// AWS's text, repeated in error messages.
    pub source: &'static str,
    /// The same for our engine, anchored at both ends.
    pub anchored: &'static str,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// A pattern that is compiled when it is first needed.
    pub const fn new(source: &'static str, anchored: &'static str) -> Pattern {
        Pattern { source, anchored, compiled: OnceLock::new() }
    }

    /// Whether the expression is understood by our engine; asked by the model crates' tests.
    pub fn compiles(&self) -> bool {
        self.regex().is_some()
    }

    /// Whether the whole text matches. A text on which the engine gives up does not match.
    pub fn matches(&self, text: &str) -> bool {
        self.regex().is_some_and(|regex| regex.is_match(text).unwrap_or(false))
    }

    fn regex(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| Regex::new(self.anchored).ok()).as_ref()
    }
}

/// What a value is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Named members.
    Structure(&'static [Member]),
    /// Items of one shape.
    List {
        /// The items' shape.
        item: &'static Shape,
        /// AWS names "Member must not be null" among the items' constraints.
        names_null: bool,
    },
    /// Texts to values of one shape.
    Map {
        /// The keys' shape.
        key: &'static Shape,
        /// The values' shape.
        value: &'static Shape,
    },
    /// A string.
    Text,
    /// 32 bits.
    Integer,
    /// 64 bits.
    Long,
    /// A floating point number.
    Double,
    /// True or false.
    Boolean,
    /// Base64 in JSON.
    Blob,
    /// Epoch seconds in JSON.
    Timestamp,
}

/// A shape with its constraints.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// What it is.
    pub kind: Kind,
    /// Least length or value.
    pub min: Option<f64>,
    /// Greatest length or value.
    pub max: Option<f64>,
    /// What a text must match.
    pub pattern: Option<&'static Pattern>,
    /// What a text must be one of, in AWS's order; empty for no such rule.
    pub values: &'static [&'static str],
    /// Its value is never repeated in messages.
    pub sensitive: bool,
}

impl Shape {
    /// A shape without constraints.
    pub const fn plain(kind: Kind) -> Shape {
        Shape { kind, min: None, max: None, pattern: None, values: &[], sensitive: false }
    }
}

/// Where a member travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the JSON body.
    Body,
    /// In the path.
    Label,
    /// In the query, under this name.
    Query(&'static str),
    /// In a header of this lower-case name.
    Header(&'static str),
    /// It is the whole body, raw.
    RawPayload,
    /// It is the whole body, as JSON.
    JsonPayload,
}

/// A member of a structure.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// AWS's name, such as `FunctionName`.
    pub name: &'static str,
    /// Its name in error texts, such as `functionName`.
    pub path: &'static str,
    /// Where it travels.
    pub place: Place,
    /// Whether it must be there.
    pub required: bool,
    /// Its shape.
    pub shape: &'static Shape,
}
