//! The one error type that crosses the wire. It carries exactly what AWS's error answers differ
//! in: code, status, the spelling of the message member, `Type`, further members, headers.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::operation::Response;

/// How the message member of an error body is spelt. AWS differs per error and clients see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKey {
    /// `Message`
    Upper,
    /// `message`
    Lower,
}

impl MessageKey {
    /// The member's name in the JSON body.
    pub fn as_str(self) -> &'static str {
        match self {
            MessageKey::Upper => "Message",
            MessageKey::Lower => "message",
        }
    }
}

/// Whose fault it was; the member `Type` of an error body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller's.
    User,
    /// The server's.
    Service,
}

impl Fault {
    /// The member's value in the JSON body.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::User => "User",
            Fault::Service => "Service",
        }
    }
}

/// An error as AWS answers it.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// AWS's code, such as `ResourceNotFoundException`; sent as header `x-amzn-ErrorType`.
    pub code: Cow<'static, str>,
    /// HTTP status.
    pub status: u16,
    /// AWS's text.
    pub message: String,
    /// Spelling of the message member.
    pub message_key: MessageKey,
    /// Body member `Type`; absent when `None`.
    pub fault: Option<Fault>,
    /// Further body members, such as `Reason`.
    pub members: Vec<(&'static str, Value)>,
    /// Further headers, such as `Retry-After`. Names are lower case.
    pub headers: Vec<(&'static str, String)>,
}

impl Error {
    /// An error with the message under `message`, no `Type` and no further members.
    pub fn new(
        code: impl Into<Cow<'static, str>>,
        status: u16,
        message: impl Into<String>,
    ) -> Error {
        Error {
            code: code.into(),
            status,
            message: message.into(),
            message_key: MessageKey::Lower,
            fault: None,
            members: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// The same error with another spelling of its message member.
    pub fn with_message_key(mut self, key: MessageKey) -> Error {
        self.message_key = key;
        self
    }

    /// The same error with a `Type` member.
    pub fn with_fault(mut self, fault: Fault) -> Error {
        self.fault = Some(fault);
        self
    }

    /// The same error with one more body member.
    pub fn with_member(mut self, name: &'static str, value: impl Into<Value>) -> Error {
        self.members.push((name, value.into()));
        self
    }

    /// The same error with one more header; `name` is lower case.
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Error {
        self.headers.push((name, value.into()));
        self
    }

    /// `ValidationException` 400 for violated constraints, counted and joined as AWS does.
    /// `messages` holds one text per violation and is not empty.
    pub fn validation(messages: Vec<String>) -> Error {
        let noun = if messages.len() == 1 { "error" } else { "errors" };
        let text =
            format!("{} validation {noun} detected: {}", messages.len(), messages.join("; "));
        Error::new("ValidationException", 400, text)
    }

    /// `SerializationException` 400: the request's shape could not be understood.
    pub fn serialization(message: impl Into<String>) -> Error {
        Error::new("SerializationException", 400, message).with_message_key(MessageKey::Upper)
    }

    /// `NotImplementedException` 501: an operation, or a setting of one, that is not offered.
    /// `what` is named in the text.
    pub fn not_offered(what: &str) -> Error {
        let text = format!("{what} is not offered by this server");
        Error::new("NotImplementedException", 501, text)
    }

    /// `ServiceException` 500.
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new("ServiceException", 500, message)
            .with_message_key(MessageKey::Upper)
            .with_fault(Fault::Service)
    }

    /// The JSON body: further members, `Type`, message.
    pub fn body(&self) -> Bytes {
        let mut body = Map::new();
        for (name, value) in &self.members {
            body.insert((*name).to_owned(), value.clone());
        }
        if let Some(fault) = self.fault {
            body.insert("Type".to_owned(), Value::from(fault.as_str()));
        }
        body.insert(self.message_key.as_str().to_owned(), Value::from(self.message.as_str()));
        Bytes::from(Value::Object(body).to_string())
    }

    /// The whole answer, without a request id (the front adds that).
    pub fn to_response(&self) -> Response {
        let mut response = Response::json(self.status, self.body());
        if let Ok(code) = HeaderValue::from_str(&self.code) {
            response.headers.push((HeaderName::from_static("x-amzn-errortype"), code));
        }
        for (name, value) in &self.headers {
            // A header that cannot be sent is left out rather than failing an error's answer.
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
            {
                response.headers.push((name, value));
            }
        }
        response
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validation_counts_and_joins() {
        let one = Error::validation(vec!["a".into()]);
        assert_eq!(one.message, "1 validation error detected: a");
        let two = Error::validation(vec!["a".into(), "b".into()]);
        assert_eq!(two.message, "2 validation errors detected: a; b");
        assert_eq!(two.body(), r#"{"message":"2 validation errors detected: a; b"}"#);
    }

    #[test]
    fn members_type_and_headers_are_sent() {
        let error = Error::new("TooManyRequestsException", 429, "Rate Exceeded.")
            .with_fault(Fault::User)
            .with_member("Reason", "CallerRateLimitExceeded")
            .with_header("retry-after", "1");
        let response = error.to_response();
        assert_eq!(response.status, 429);
        assert_eq!(
            response.body.whole().unwrap(),
            r#"{"Reason":"CallerRateLimitExceeded","Type":"User","message":"Rate Exceeded."}"#
        );
        assert_eq!(response.header("x-amzn-errortype"), Some("TooManyRequestsException"));
        assert_eq!(response.header("retry-after"), Some("1"));
    }
}
