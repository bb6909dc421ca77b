//! Where records and outcomes can be sent to, by ARN: what kind of thing one names, and AWS's words for
//! one that is wrong. Whether a queue, topic, event bus or bucket is there cannot be known here.

use lambic_model_lambda as model;
use lambic_wire::Error;

use crate::limits::invalid;

/// What a destination names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    Queue,
    Topic,
    Function,
    EventBus,
    Bucket,
    KafkaTopic,
}

/// What this names; `None`: nothing that events are sent to.
pub(super) fn kind(text: &str) -> Option<Destination> {
    if text.starts_with("kafka://") {
        return Some(Destination::KafkaTopic);
    }
    match text.split(':').nth(2)? {
        "sqs" => Some(Destination::Queue),
        "sns" => Some(Destination::Topic),
        "lambda" => Some(Destination::Function),
        "events" => Some(Destination::EventBus),
        "s3" => Some(Destination::Bucket),
        _ => None,
    }
}

/// Whether this names one queue, topic, event bus or bucket, and none that keeps an order: those are
/// not written to.
pub(super) fn is_whole(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, _, service, region, account, name] = parts[..] else { return false };
    let is_placed = !region.is_empty() && !account.is_empty();
    let is_plain = !name.is_empty() && !name.contains([':', '/']);
    match service {
        "sqs" | "sns" => is_placed && is_plain && !name.ends_with(".fifo"),
        "events" => {
            let bus = name.strip_prefix("event-bus/");
            is_placed && bus.is_some_and(|bus| !bus.is_empty())
        }
        "s3" => is_plain,
        _ => false,
    }
}

/// The destination that was given, if it is not empty.
pub(super) fn given(destination: Option<&String>) -> Option<&str> {
    destination.map(String::as_str).filter(|destination| !destination.is_empty())
}

/// It names nothing that can be sent to.
pub(super) fn invalid_arn(arn: &str) -> Error {
    invalid(format!("The destination ARN {arn} is invalid."))
}

/// One of the two is of a kind that is not possible there.
pub(super) fn invalid_config(config: &model::DestinationConfig) -> Error {
    let shown = |name: &str, side: Option<Option<&String>>| match side {
        Some(arn) => format!("{name}(destination={})", arn.map_or("null", String::as_str)),
        None => "null".to_owned(),
    };
    let success = config.on_success.as_ref().map(|side| side.destination.as_ref());
    let failure = config.on_failure.as_ref().map(|side| side.destination.as_ref());
    invalid(format!(
        "The provided destination config DestinationConfig(onSuccess={}, onFailure={}) is invalid.",
        shown("OnSuccess", success),
        shown("OnFailure", failure)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_destinations_name() {
        let at = "us-east-1:000000000000";
        for (text, expected, whole) in [
            (format!("arn:aws:sqs:{at}:q"), Some(Destination::Queue), true),
            (format!("arn:aws:sqs:{at}:q.fifo"), Some(Destination::Queue), false),
            (format!("arn:aws:sqs:{at}:"), Some(Destination::Queue), false),
            ("arn:aws:sqs:::q".to_owned(), Some(Destination::Queue), false),
            (format!("arn:aws:sns:{at}:t"), Some(Destination::Topic), true),
            (format!("arn:aws:sns:{at}:t:subscription"), Some(Destination::Topic), false),
            (format!("arn:aws:events:{at}:event-bus/b"), Some(Destination::EventBus), true),
            (format!("arn:aws:events:{at}:event-bus/a/b"), Some(Destination::EventBus), true),
            (format!("arn:aws:events:{at}:rule/b"), Some(Destination::EventBus), false),
            ("arn:aws:s3:::bucket".to_owned(), Some(Destination::Bucket), true),
            ("arn:aws:s3:::bucket/key".to_owned(), Some(Destination::Bucket), false),
            (format!("arn:aws:lambda:{at}:function:f"), Some(Destination::Function), false),
            ("kafka://topic".to_owned(), Some(Destination::KafkaTopic), false),
            (format!("arn:aws:iam:{at}:function:f"), None, false),
            ("queue".to_owned(), None, false),
        ] {
            assert_eq!((kind(&text), is_whole(&text)), (expected, whole), "{text}");
        }
    }
}
