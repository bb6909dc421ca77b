//! The `Date` header, from the one clock that everything else uses too.

use std::cell::RefCell;

use http::HeaderValue;
use lambic_rt::Timestamp;

/// `Sun, 06 Nov 1994 08:49:37 GMT` (IMF-fixdate, RFC 9110 section 5.6.7).
pub fn header(now: Timestamp) -> HeaderValue {
    // It changes once a second and is wanted with every answer, so each thread keeps its last.
    thread_local! {
        static LAST: RefCell<Option<(i64, HeaderValue)>> = const { RefCell::new(None) };
    }
    let second = now.seconds();
    LAST.with_borrow_mut(|last| match last {
        Some((of, value)) if *of == second => value.clone(),
        _ => {
            let value = HeaderValue::from_str(&text(now)).expect("a date is plain ASCII");
            *last = Some((second, value.clone()));
            value
        }
    })
}

fn text(now: Timestamp) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day, hour, minute, second, _) = now.utc();
    // The first day of the epoch was a Thursday.
    let weekday = DAYS[now.seconds().div_euclid(86_400).rem_euclid(7) as usize];
    let month = MONTHS[month as usize - 1];
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfc_s_own_example() {
        let moment = Timestamp::from_micros(784_111_777_000_000);
        assert_eq!(header(moment), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(header(moment), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(Timestamp::from_micros(0)), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
