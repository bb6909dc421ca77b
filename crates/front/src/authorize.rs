//! May this principal do this to that? One question, asked in one place.
//!
//! Today the answer is the account boundary. IAM policies (identity, resource, session and
//! boundary policies) will be evaluated here, behind the same function.

use lambic_wire::{Arn, Error, MessageKey};

use crate::credentials::Principal;

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// Answer [`forbidden`].
    Deny,
}

/// Decides whether `principal` may do `service:action` to `resource`. An ARN without an account
/// (an S3 bucket's) is open to all principals as far as the account boundary goes.
pub fn authorize(principal: &Principal, _service: &str, _action: &str, resource: &Arn) -> Decision {
    if resource.account.is_empty() || resource.account == principal.account {
        Decision::Allow
    } else {
        Decision::Deny
    }
}

/// `AccessDeniedException` 403 in AWS's words.
pub fn forbidden(principal: &Principal, service: &str, action: &str, resource: &Arn) -> Error {
    let arn = &principal.arn;
    let text = format!(
        "User: {arn} is not authorized to perform: {service}:{action} on resource: {resource}"
    );
    Error::new("AccessDeniedException", 403, text).with_message_key(MessageKey::Upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(account_of_resource: &str) -> Decision {
        let principal = Principal::role_session("111111111111", "role", "session");
        let resource = Arn::new("lambda", "us-east-1", account_of_resource, "function:f");
        authorize(&principal, "lambda", "GetFunction", &resource)
    }

    #[test]
    fn only_the_own_account() {
        assert_eq!(check("111111111111"), Decision::Allow);
        assert_eq!(check("222222222222"), Decision::Deny);
        assert_eq!(check(""), Decision::Allow);
    }

    #[test]
    fn the_text_is_aws_s() {
        let principal = Principal::root("111111111111");
        let resource = Arn::new("lambda", "eu-west-1", "222222222222", "function:f");
        let error = forbidden(&principal, "lambda", "GetFunction", &resource);
        assert_eq!(
            error.message,
            "User: arn:aws:iam::111111111111:root is not authorized to perform: \
             lambda:GetFunction on resource: arn:aws:lambda:eu-west-1:222222222222:function:f"
        );
        assert_eq!(error.status, 403);
    }
}
