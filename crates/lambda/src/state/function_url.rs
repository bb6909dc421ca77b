//! The URL of a function, or of one of its aliases, kept in the function's record.

use lambic_rt::Rt;
use serde::{Deserialize, Serialize};

/// What is set about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionUrl {
    /// The first part of its host; unique among all URLs, and nobody can guess it.
    pub id: String,
    /// Who may use it.
    pub auth: UrlAuth,
    /// What browsers may do with it; absent when that is left to the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<UrlCors>,
    /// How answers come; absent when nobody ever said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoke_mode: Option<UrlInvokeMode>,
    /// In microseconds since the epoch.
    pub created_micros: i64,
    /// In microseconds since the epoch.
    pub last_modified_micros: i64,
}

/// `AuthType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UrlAuth {
    /// Whoever the function's policy lets in, unsigned.
    None,
    /// Whoever has signed and is let in.
    AwsIam,
}

/// `InvokeMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UrlInvokeMode {
    /// In one piece.
    Buffered,
    /// As the function sends it.
    ResponseStream,
}

/// `Cors`, as it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UrlCors {
    /// Whether cookies and credentials may be sent along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_credentials: Option<bool>,
    /// Request headers; `*` is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_headers: Option<Vec<String>>,
    /// Methods; `*` is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_methods: Option<Vec<String>>,
    /// Origins such as `https://example.com`; `*` is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_origins: Option<Vec<String>>,
    /// Response headers that pages may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose_headers: Option<Vec<String>>,
    /// Seconds that a browser may remember the answer to its preflight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<u32>,
}

impl FunctionUrl {
    /// Whether answers are streamed.
    pub fn streams(&self) -> bool {
        self.invoke_mode == Some(UrlInvokeMode::ResponseStream)
    }
}

/// Letters and digits of ids.
const ID_CHARACTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Characters of an id.
pub const ID_CHARACTERS_MAX: usize = 32;

/// An id for a new URL: 160 random bits, so that it stays secret until it is told.
pub fn new_id(rt: &Rt) -> String {
    let mut bytes = [0; ID_CHARACTERS_MAX];
    rt.fill_random(&mut bytes);
    bytes.iter().map(|byte| char::from(ID_CHARACTERS[usize::from(byte % 32)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_form_of_aws_s_and_differ() {
        let rt = Rt::simulated(3);
        let (one, other) = (new_id(&rt), new_id(&rt));
        assert_ne!(one, other);
        assert_eq!(one.len(), 32);
        assert!(one.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    }

    #[test]
    fn round_trip() {
        let url = FunctionUrl {
            id: "a".repeat(32),
            auth: UrlAuth::AwsIam,
            cors: Some(UrlCors { max_age_s: Some(5), ..UrlCors::default() }),
            invoke_mode: Some(UrlInvokeMode::ResponseStream),
            created_micros: 1,
            last_modified_micros: 2,
        };
        let text = serde_json::to_string(&url).unwrap();
        assert_eq!(serde_json::from_str::<FunctionUrl>(&text).unwrap(), url);
        let least =
            r#"{"id": "a", "auth": "None", "created_micros": 1, "last_modified_micros": 1}"#;
        let least: FunctionUrl = serde_json::from_str(least).unwrap();
        assert_eq!((least.cors.is_none(), least.streams()), (true, false));
    }
}
