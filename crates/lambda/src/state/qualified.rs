//! What is set for one qualifier of a function, kept in the function's record. Each setting is of the
//! version or the alias that it names, and goes with it.

use serde::{Deserialize, Serialize};

use super::function_url::FunctionUrl;

/// The settings of one qualifier; those that are not set are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qualified {
    /// Its URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<FunctionUrl>,
}

impl Qualified {
    /// Whether nothing is set; then it is not kept.
    pub fn is_empty(&self) -> bool {
        *self == Qualified::default()
    }
}
