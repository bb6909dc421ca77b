//! X-Ray headers: the caller's is passed on with a segment of this invocation, or one is made.
//!
//! Nothing is sent to X-Ray, so a header that is made says `Sampled=0`.

use std::fmt::Write;

use lambic_rt::Rt;

/// The header for one invocation, such as `Root=1-…;Parent=…;Sampled=0`.
pub(super) fn header(rt: &Rt, from_caller: Option<&str>) -> String {
    let given = from_caller.unwrap_or_default();
    let root = part(given, "Root").filter(|root| is_root(root));
    let sampled = part(given, "Sampled").filter(|sampled| matches!(*sampled, "0" | "1"));
    let parent = part(given, "Parent").filter(|parent| parent.len() == 16 && is_hex(parent));
    let mut random = [0_u8; 20];
    rt.fill_random(&mut random);
    let root = match root {
        Some(root) => root.to_owned(),
        None => format!("1-{:08x}-{}", rt.now().seconds() as u32, hex(&random[..12])),
    };
    let parent = parent.map_or_else(|| hex(&random[12..]), str::to_owned);
    format!("Root={root};Parent={parent};Sampled={}", sampled.unwrap_or("0"))
}

fn part<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
}

fn is_root(root: &str) -> bool {
    let parts: Vec<&str> = root.split('-').collect();
    matches!(parts.as_slice(), ["1", time, id]
        if time.len() == 8 && id.len() == 24 && is_hex(time) && is_hex(id))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_on_or_made() {
        let rt = Rt::simulated(5);
        let root = "1-5759e988-bd862e3fe1be46a994272793";
        let given = format!("Root={root};Parent=53995c3f42cd8ad8;Sampled=1");
        assert_eq!(header(&rt, Some(&given)), given);
        let grown = header(&rt, Some(&format!("Root={root}")));
        assert!(grown.starts_with(&format!("Root={root};Parent=")), "{grown}");
        assert!(grown.ends_with(";Sampled=0"));
        for bad in [None, Some("nonsense"), Some("Root=1-x-y;Sampled=7")] {
            let made = header(&rt, bad);
            assert_eq!(made.len(), "Root=;Parent=;Sampled=0".len() + 35 + 16, "{made}");
        }
    }
}
