//! What goes into the invoke path, and what comes out.

use bytes::Bytes;

/// One request to run a function.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// AWS request id, a UUID; unique.
    pub request_id: String,
    /// The ARN as the caller named the function, qualifier included if it gave one.
    pub invoked_arn: String,
    /// The event; at most 6 MB, JSON.
    pub payload: Bytes,
    /// The caller's client context, decoded: JSON.
    pub client_context: Option<String>,
    /// `X-Amzn-Trace-Id` of the request.
    pub trace_id: Option<String>,
    /// Whether the last 4 KB of the log are wanted.
    pub log_tail: bool,
    /// For whom it is; there exactly when the function isolates tenants.
    pub tenant_id: Option<String>,
}

/// What the function answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The function's response, or its error document.
    pub payload: Bytes,
    /// `X-Amz-Function-Error`: `Unhandled` when the payload is an error document.
    pub function_error: Option<&'static str>,
    /// The last 4 KB of the log, not yet base64, when they were asked for.
    pub log_tail: Option<Vec<u8>>,
    /// The version that ran, such as `$LATEST`.
    pub executed_version: String,
}
