//! Every error that the platform itself reports about an invocation: the one list of the texts
//! and types that AWS's clients, tests and alarms match on.
//!
//! What user code raised is not here: it comes from the runtime and is passed on as it is.

use std::time::Duration;

use bytes::Bytes;

/// The runtime's response or error may have this many bytes: 6 MiB and 100 bytes of envelope.
pub const RESPONSE_BYTES_MAX: usize = 6 * 1024 * 1024 + 100;
/// A response that is streamed to its caller may have this many bytes (AWS: 200 MB).
pub const STREAMED_BYTES_MAX: u64 = 200 * 1024 * 1024;

/// How the runtime process of an environment ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Exit status, when it exited by itself.
    pub code: Option<i32>,
    /// Signal number, when a signal ended it.
    pub signal: Option<i32>,
    /// Whether the kernel ended it for lack of memory.
    pub oom: bool,
}

/// Why the platform, not the function, ended an invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It took longer than the function's timeout.
    TimedOut {
        /// The function's timeout.
        timeout: Duration,
    },
    /// The runtime process ended before it answered.
    Exited(Exit),
    /// There is no program to start, or it cannot be started; the text says which.
    InvalidEntrypoint {
        /// After `Error: `, such as `Couldn't find valid bootstrap(s): […]`.
        reason: String,
    },
    /// The response has more than [`RESPONSE_BYTES_MAX`] bytes.
    ResponseTooLarge {
        /// Bytes of the response, as far as they were counted.
        bytes: u64,
    },
    /// What runs beside the runtime failed.
    Extension {
        /// In which way.
        kind: ExtensionFault,
        /// How its process ended, or why it could not be started.
        reason: String,
    },
    /// The response was streamed to its caller and has more than [`STREAMED_BYTES_MAX`] bytes.
    StreamTooLarge {
        /// Bytes of the response, as far as they were counted.
        bytes: u64,
    },
    /// The response was being streamed to its caller and broke off.
    Truncated,
    /// The interpreter that the function's runtime needs is not on this machine.
    RuntimeMissing {
        /// What is missing and how to get it.
        reason: String,
    },
}

/// How an extension failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtensionFault {
    /// It could not be started.
    Launch,
    /// It ended after it had reported that it cannot start.
    Init,
    /// It ended after it had reported that it cannot go on.
    Exit,
    /// It ended without a word.
    Crash,
}

/// What the REPORT line says of the end of an invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing: the function answered, be it with an error of its own.
    Answered,
    /// `Status: timeout`
    Timeout,
    /// `Status: error` and its `Error Type`.
    Error(String),
}

/// No program was found where a custom runtime's has to be.
pub fn no_bootstrap() -> Fault {
    let reason = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]";
    Fault::InvalidEntrypoint { reason: reason.to_owned() }
}

/// The program is there but the kernel refuses to run it; `why` in the words of Go's `syscall`.
pub fn bootstrap_refused(program: &str, why: &str) -> Fault {
    Fault::InvalidEntrypoint { reason: format!("fork/exec {program}: {why}") }
}

impl Fault {
    /// AWS's error type.
    pub fn error_type(&self) -> &'static str {
        match self {
            Fault::TimedOut { .. } => "Sandbox.Timedout",
            Fault::Exited(_) => "Runtime.ExitError",
            Fault::InvalidEntrypoint { .. } => "Runtime.InvalidEntrypoint",
            Fault::ResponseTooLarge { .. } | Fault::StreamTooLarge { .. } => {
                "Function.ResponseSizeTooLarge"
            }
            Fault::Truncated => "Runtime.TruncatedResponse",
            Fault::Extension { kind: ExtensionFault::Launch, .. } => "Extension.LaunchError",
            Fault::Extension { kind: ExtensionFault::Init, .. } => "Extension.InitError",
            Fault::Extension { kind: ExtensionFault::Exit, .. } => "Extension.ExitError",
            Fault::Extension { kind: ExtensionFault::Crash, .. } => "Extension.Crash",
            Fault::RuntimeMissing { .. } => "Runtime.NotAvailable",
        }
    }

    /// AWS's error message.
    pub fn message(&self, request_id: &str) -> String {
        let what = match self {
            Fault::ResponseTooLarge { bytes } => {
                return response_too_large(*bytes, RESPONSE_BYTES_MAX as u64);
            }
            Fault::StreamTooLarge { bytes } => {
                return response_too_large(*bytes, STREAMED_BYTES_MAX);
            }
            Fault::Truncated => "HTTP request detected as truncated".to_owned(),
            Fault::TimedOut { timeout } => task_timed_out(*timeout),
            Fault::Exited(exit) => exit_text(exit),
            Fault::InvalidEntrypoint { reason }
            | Fault::Extension { reason, .. }
            | Fault::RuntimeMissing { reason } => reason.clone(),
        };
        format!("RequestId: {request_id} Error: {what}")
    }

    /// The JSON that the caller gets.
    pub fn payload(&self, request_id: &str) -> Bytes {
        error_payload(self.error_type(), &self.message(request_id))
    }

    /// What the function's log says, before END; ends with a newline. `at` is the wall clock.
    pub fn log_text(&self, request_id: &str, at: &str) -> String {
        match self {
            Fault::TimedOut { timeout } => {
                format!("{at} {request_id} {}\n\n", task_timed_out(*timeout))
            }
            _ => format!("{}\n{}\n", self.message(request_id), self.error_type()),
        }
    }

    /// What the REPORT line says.
    pub fn status(&self) -> Status {
        match self {
            Fault::TimedOut { .. } => Status::Timeout,
            Fault::Exited(exit) if exit.oom => Status::Error("Runtime.OutOfMemory".to_owned()),
            _ => Status::Error(self.error_type().to_owned()),
        }
    }
}

/// `{"errorType":…,"errorMessage":…}` as AWS orders it.
pub fn error_payload(error_type: &str, message: &str) -> Bytes {
    let text = |value: &str| serde_json::Value::from(value).to_string();
    Bytes::from(format!(
        "{{\"errorType\":{},\"errorMessage\":{}}}",
        text(error_type),
        text(message)
    ))
}

fn task_timed_out(timeout: Duration) -> String {
    format!("Task timed out after {:.2} seconds", timeout.as_secs_f64())
}

fn response_too_large(bytes: u64, bytes_max: u64) -> String {
    format!(
        "Response payload size ({bytes} bytes) exceeded maximum allowed payload size \
         ({bytes_max} bytes)."
    )
}

fn exit_text(exit: &Exit) -> String {
    match failure_text(exit) {
        Some(text) => format!("Runtime exited with error: {text}"),
        None => "Runtime exited without providing a reason".to_owned(),
    }
}

/// How the process of an extension ended, in AWS's words.
pub fn extension_exit_text(exit: &Exit) -> String {
    failure_text(exit).unwrap_or_else(|| "exit code 0".to_owned())
}

fn failure_text(exit: &Exit) -> Option<String> {
    match (exit.code, exit.signal) {
        (_, Some(signal)) => Some(format!("signal: {}", signal_name(signal))),
        (Some(code), None) if code != 0 => Some(format!("exit status {code}")),
        _ if exit.oom => Some("signal: killed".to_owned()),
        _ => None,
    }
}

/// The words for signals that AWS's platform (written in Go) prints.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: Option<i32>, signal: Option<i32>, oom: bool) -> Fault {
        Fault::Exited(Exit { code, signal, oom })
    }

    #[test]
    fn texts_are_those_of_aws() {
        let cases = [
            (
                Fault::TimedOut { timeout: Duration::from_secs(3) },
                "RequestId: r Error: Task timed out after 3.00 seconds",
            ),
            (
                exited(Some(1), None, false),
                "RequestId: r Error: Runtime exited with error: exit status 1",
            ),
            (
                exited(Some(0), None, false),
                "RequestId: r Error: Runtime exited without providing a reason",
            ),
            (
                exited(None, Some(9), true),
                "RequestId: r Error: Runtime exited with error: signal: killed",
            ),
            (
                exited(None, Some(11), false),
                "RequestId: r Error: Runtime exited with error: signal: segmentation fault",
            ),
            (
                no_bootstrap(),
                "RequestId: r Error: Couldn't find valid bootstrap(s): \
                 [/var/task/bootstrap /opt/bootstrap]",
            ),
            (
                bootstrap_refused("/var/task/bootstrap", "exec format error"),
                "RequestId: r Error: fork/exec /var/task/bootstrap: exec format error",
            ),
            (
                Fault::ResponseTooLarge { bytes: 7_000_000 },
                "Response payload size (7000000 bytes) exceeded maximum allowed payload size \
                 (6291556 bytes).",
            ),
            (
                Fault::StreamTooLarge { bytes: 209_715_201 },
                "Response payload size (209715201 bytes) exceeded maximum allowed payload size \
                 (209715200 bytes).",
            ),
            (Fault::Truncated, "RequestId: r Error: HTTP request detected as truncated"),
        ];
        for (fault, text) in cases {
            assert_eq!(fault.message("r"), text);
        }
    }

    #[test]
    fn out_of_memory_is_an_exit_to_the_caller_and_named_in_the_report() {
        let fault = exited(None, Some(9), true);
        assert_eq!(fault.error_type(), "Runtime.ExitError");
        assert_eq!(fault.status(), Status::Error("Runtime.OutOfMemory".into()));
    }

    #[test]
    fn payload_and_log() {
        let fault = Fault::TimedOut { timeout: Duration::from_millis(1_500) };
        assert_eq!(
            fault.payload("r"),
            r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: r Error: Task timed out after 1.50 seconds"}"#
        );
        assert_eq!(fault.log_text("r", "T"), "T r Task timed out after 1.50 seconds\n\n");
        assert_eq!(
            exited(Some(2), None, false).log_text("r", "T"),
            "RequestId: r Error: Runtime exited with error: exit status 2\nRuntime.ExitError\n"
        );
    }
}
