//! How often a chain of requests has passed which functions: the `Lineage` of a trace header, by which
//! Lambda finds functions that set themselves off without an end.
//!
//! It is `a87bd80c:1|68fd508a:5`: for each function eight digits that stand for it, and how often it was
//! invoked after the first time. Newer headers of AWS put a number in front of each part
//! (`1:a87bd80c:0`); what is not ours goes on as it came. SDKs take the header from the invocation that
//! they run in to the requests that they send, so a chain is followed wherever an SDK sends its next
//! request, to this function or another. It ends where a request is sent without the header.
//!
//! A function stands for all of its versions and aliases. A chain longer than the header may be forgets
//! the functions that it has not passed for the longest.

use sha2::{Digest, Sha256};

use super::trace::lineage_of;

/// Longest `Lineage` that is read and passed on, in characters: a loop through some forty functions.
pub(super) const CHARACTERS_MAX: usize = 512;

/// How often the chain that a request with this trace header belongs to has invoked the function.
pub(crate) fn passes(function_arn: &str, header: Option<&str>) -> u32 {
    let Some(lineage) = header.and_then(lineage_of) else { return 0 };
    let id = id(function_arn);
    let own = parts(lineage).find(|part| part.id == id);
    own.map_or(0, |part| part.count.saturating_add(1))
}

/// The lineage with one invocation more of the function that this stands for.
pub(super) fn continued(id: &str, lineage: Option<&str>) -> String {
    let mut own = [id, ":0"].concat();
    let Some(lineage) = lineage else { return own };
    let mut others = Vec::new();
    for part in parts(lineage) {
        if part.id == id {
            let count = part.count.saturating_add(1);
            own = format!("{}:{count}", part.head);
        } else {
            others.push(part.text);
        }
    }
    // The function of this invocation comes last, so those in front are the ones to be forgotten.
    let mut length = own.len() + others.iter().map(|text| text.len() + 1).sum::<usize>();
    let mut forgotten = 0;
    while length > CHARACTERS_MAX {
        length -= others[forgotten].len() + 1;
        forgotten += 1;
    }
    let mut kept = others.split_off(forgotten);
    kept.push(&own);
    kept.join("|")
}

/// Whether it is one: parts of hexadecimal digits and counts.
pub(super) fn is_lineage(text: &str) -> bool {
    (1..=CHARACTERS_MAX).contains(&text.len()) && text.split('|').all(|text| part(text).is_some())
}

/// What stands for a function.
pub(crate) fn id(function_arn: &str) -> String {
    let digest = Sha256::digest(format!("lambic lineage {function_arn}"));
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// One function of a lineage.
struct Part<'a> {
    text: &'a str,
    /// All but the count.
    head: &'a str,
    id: &'a str,
    count: u32,
}

fn parts(lineage: &str) -> impl Iterator<Item = Part<'_>> {
    lineage.split('|').filter_map(part)
}

fn part(text: &str) -> Option<Part<'_>> {
    let (head, count) = text.rsplit_once(':')?;
    let (number, id) = head.rsplit_once(':').unwrap_or(("0", head));
    let is_decimal = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_id = (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id || !is_decimal(number) || !is_decimal(count) {
        return None;
    }
    // A count too large to be held is a loop all the same.
    Some(Part { text, head, id, count: count.parse().unwrap_or(u32::MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";
    const ROOT: &str = "Root=1-5759e988-bd862e3fe1be46a994272793";

    fn passes_of(lineage: &str) -> u32 {
        passes(ARN, Some(&format!("{ROOT};Lineage={lineage}")))
    }

    #[test]
    fn a_chain_counts_each_function_it_passes() {
        let (own, other) = (id(ARN), id("arn:aws:lambda:us-east-1:000000000000:function:g"));
        assert_ne!(own, other);
        assert_eq!(
            (passes(ARN, None), passes(ARN, Some(ROOT)), passes_of("a87bd80c:1")),
            (0, 0, 0)
        );
        let first = continued(&id(ARN), None);
        assert_eq!((first.as_str(), passes_of(&first)), (format!("{own}:0").as_str(), 1));
        let mut lineage = Some("a87bd80c:1|1:68fd508a:5".to_owned());
        for passed in 1..=20 {
            lineage = Some(continued(&id(ARN), lineage.as_deref()));
            assert_eq!(passes_of(lineage.as_deref().unwrap()), passed);
        }
        assert_eq!(lineage.unwrap(), format!("a87bd80c:1|1:68fd508a:5|{own}:19"));
        let newer = format!("1:{own}:3");
        assert_eq!(
            (passes_of(&newer), continued(&id(ARN), Some(&newer))),
            (4, format!("1:{own}:4"))
        );
    }

    #[test]
    fn nothing_gets_longer_without_an_end_and_the_oldest_are_forgotten() {
        let mut lineage = "aaaaaaaa:0".to_owned();
        for number in 0..200 {
            lineage = continued(&id(&format!("{ARN}{number}")), Some(&lineage));
            assert!(lineage.len() <= CHARACTERS_MAX && is_lineage(&lineage), "{lineage}");
        }
        assert!(
            !lineage.contains("aaaaaaaa")
                && lineage.ends_with(&format!("{}:0", id(&format!("{ARN}199"))))
        );
        let own = id(ARN);
        for huge in [format!("{own}:4294967295"), format!("{own}:99999999999999999999")] {
            assert_eq!(passes_of(&huge), u32::MAX);
            assert_eq!(continued(&id(ARN), Some(&huge)), format!("{own}:4294967295"));
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_one_invocation_more_is_a_lineage(text in "[0-9a-fx:|]{0,600}|(?s).{0,50}") {
            let header = format!("{ROOT};Lineage={text}");
            let passed = passes(ARN, Some(&header));
            let next = continued(&id(ARN), lineage_of(&header));
            assert!(is_lineage(&next), "{next}");
            assert_eq!(passes_of(&next), passed.saturating_add(1));
        }
    }

    #[test]
    fn what_is_none() {
        for good in ["a:1", "a87bd80c:1|68fd508a:5", "2:a87bd80c:0"] {
            assert!(is_lineage(good), "{good}");
        }
        let long = "a87bd80c:1|".repeat(50) + "a:1";
        for bad in ["", "a", ":1", "a:", "a:x", "x:a:1", "1:2:a:1", "a:1|", "a:-1", "a:1 ", &long] {
            assert!(!is_lineage(bad), "{bad}");
        }
    }
}
