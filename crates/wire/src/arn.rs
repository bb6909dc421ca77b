//! Amazon Resource Names: `arn:partition:service:region:account:resource`.

use std::fmt;
use std::str::FromStr;

/// A parsed ARN. Region and account may be empty; the resource is not split further.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Arn {
    /// Such as `aws`.
    pub partition: String,
    /// Such as `lambda`.
    pub service: String,
    /// Such as `us-east-1`; empty for global services.
    pub region: String,
    /// Twelve digits; empty for some services.
    pub account: String,
    /// Everything after the fifth colon, such as `function:hello:1`.
    pub resource: String,
}

/// The text is not an ARN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArnError;

impl fmt::Display for ArnError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not an ARN")
    }
}

impl std::error::Error for ArnError {}

impl Arn {
    /// An ARN of the partition `aws`.
    pub fn new(service: &str, region: &str, account: &str, resource: impl Into<String>) -> Arn {
        Arn {
            partition: "aws".to_owned(),
            service: service.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            resource: resource.into(),
        }
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Arn { partition, service, region, account, resource } = self;
        write!(formatter, "arn:{partition}:{service}:{region}:{account}:{resource}")
    }
}

impl FromStr for Arn {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Arn, ArnError> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next().map(str::to_owned).ok_or(ArnError);
        if next()? != "arn" {
            return Err(ArnError);
        }
        let arn = Arn {
            partition: next()?,
            service: next()?,
            region: next()?,
            account: next()?,
            resource: next()?,
        };
        if arn.partition.is_empty() || arn.service.is_empty() || arn.resource.is_empty() {
            return Err(ArnError);
        }
        Ok(arn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        for text in
            ["arn:aws:lambda:us-east-1:000000000000:function:f:1", "arn:aws:s3:::bucket/a:b"]
        {
            let arn: Arn = text.parse().unwrap();
            assert_eq!(arn.to_string(), text);
        }
    }

    #[test]
    fn refuses_what_is_none() {
        for text in ["", "arn", "f", "arn:aws:lambda:us-east-1:0", "arn:aws:lambda:us-east-1:0:"] {
            assert_eq!(text.parse::<Arn>(), Err(ArnError), "{text}");
        }
    }
}
