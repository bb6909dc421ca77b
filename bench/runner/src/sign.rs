//! Signature version 4, as far as a request with a short body needs it.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// Who signs.
pub struct Signer {
    /// Access key id.
    pub key: String,
    /// Secret access key.
    pub secret: String,
    /// Such as `us-east-1`.
    pub region: String,
}

/// The bytes of a whole request, signed when there is a signer. A signature holds for 15 minutes.
pub fn request(method: &str, host: &str, path: &str, body: &[u8], signer: Option<&Signer>) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
    if let Some(signer) = signer {
        head.push_str(&signer.headers(method, host, path, body, &stamp(now_s())));
    }
    // Writing into a String cannot fail.
    _ = write!(head, "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

impl Signer {
    fn headers(&self, method: &str, host: &str, path: &str, body: &[u8], stamp: &str) -> String {
        let scope = format!("{}/{}/lambda/aws4_request", &stamp[..8], self.region);
        let canonical = format!(
            "{method}\n{path}\n\nhost:{host}\nx-amz-date:{stamp}\n\nhost;x-amz-date\n{}",
            hex(&Sha256::digest(body))
        );
        let text =
            format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for word in [&stamp[..8], &self.region, "lambda", "aws4_request"] {
            key = mac(&key, word.as_bytes());
        }
        let signature = hex(&mac(&key, text.as_bytes()));
        format!(
            "X-Amz-Date: {stamp}\r\nAuthorization: AWS4-HMAC-SHA256 Credential={}/{scope}, \
             SignedHeaders=host;x-amz-date, Signature={signature}\r\n",
            self.key
        )
    }
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seconds since 1970.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `20261121T010203Z`; the days by Howard Hinnant's `civil_from_days`.
pub fn stamp(epoch_s: u64) -> String {
    let (days, second) = ((epoch_s / 86_400) as i64 + 719_468, epoch_s % 86_400);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps() {
        assert_eq!(stamp(0), "19700101T000000Z");
        assert_eq!(stamp(951_782_400), "20000229T000000Z");
        assert_eq!(stamp(1_795_223_143), "20261121T010543Z");
    }

    #[test]
    fn a_signed_request_is_whole() {
        let signer = Signer { key: "k".into(), secret: "s".into(), region: "us-east-1".into() };
        let text = String::from_utf8(request("POST", "h", "/p", b"{}", Some(&signer))).unwrap();
        assert!(text.starts_with("POST /p HTTP/1.1\r\nHost: h\r\nX-Amz-Date: "));
        assert!(text.contains("SignedHeaders=host;x-amz-date, Signature="));
        assert!(text.ends_with("Content-Length: 2\r\n\r\n{}"));
    }
}
