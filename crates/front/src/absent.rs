//! Requests for AWS services that are not here: an answer that names the service, in the form that
//! the service's clients can read. `aws sts get-caller-identity` is many people's first command.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use lambic_wire::{Error, Request};

use crate::internal::{InternalReply, ReplyContent};

/// The answer to a request for `service`. `Err` where JSON is what its clients read.
pub(crate) fn answer(
    request: &Request,
    service: &str,
    request_id: &str,
) -> Result<InternalReply, Error> {
    let error = Error::not_offered(&format!("the service {service}"));
    let form = request.header(CONTENT_TYPE.as_str()).unwrap_or_default();
    let (code, message) = (escaped(&error.code), escaped(&error.message));
    let text = if service == "s3" {
        format!(
            "<Error><Code>NotImplemented</Code><Message>{message}</Message>\
             <RequestId>{request_id}</RequestId></Error>"
        )
    } else if form.starts_with("application/x-www-form-urlencoded") {
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>\
             <Message>{message}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        )
    } else {
        return Err(error);
    };
    let kind: (HeaderName, HeaderValue) = (CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    Ok(InternalReply {
        status: error.status,
        headers: vec![kind],
        content: ReplyContent::Bytes(Bytes::from(text)),
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(service: &str, content_type: &'static str) -> Result<String, Error> {
        let mut request = Request {
            method: http::Method::POST,
            path: "/".to_owned(),
            query: String::new(),
            headers: http::HeaderMap::new(),
            body: Bytes::new(),
        };
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let reply = answer(&request, service, "id")?;
        assert_eq!(reply.status, 501);
        match reply.content {
            ReplyContent::Bytes(bytes) => Ok(String::from_utf8(bytes.to_vec()).unwrap()),
            ReplyContent::File { .. } | ReplyContent::Pieces(_) => panic!("a file"),
        }
    }

    #[test]
    fn clients_of_query_services_and_of_s3_read_xml_and_others_json() {
        let sts = check("sts", "application/x-www-form-urlencoded; charset=utf-8").unwrap();
        assert!(sts.contains("<Message>the service sts is not offered"), "{sts}");
        assert!(sts.starts_with("<ErrorResponse><Error><Type>Sender</Type><Code>"), "{sts}");
        assert!(check("s3", "").unwrap().contains("<Code>NotImplemented</Code>"));
        assert!(check("<i>", "application/x-www-form-urlencoded").unwrap().contains("&lt;i&gt;"));
        assert!(check("dynamodb", "application/x-amz-json-1.0").is_err());
    }
}
