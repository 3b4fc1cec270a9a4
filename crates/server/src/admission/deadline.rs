//! Until when a caller waits: `grpc-timeout`, as gRPC's protocol over HTTP/2 has it.

use std::time::{Duration, Instant};

use axum::http::HeaderMap;

/// tonic looks at the same header and gives up at the same time, but says that the request was cancelled. Whoever is first is
/// heard.
const AHEAD: Duration = Duration::from_millis(3);

/// Until when a caller waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// What the headers of a request say that came `now`, but at most `longest` from now.
    ///
    /// # Errors
    /// What is wrong with the header: what is meant to end is not to go on for ever.
    pub(super) fn of(headers: &HeaderMap, now: Instant, longest: Duration) -> Result<Self, String> {
        let Some(header) = headers.get("grpc-timeout") else { return Ok(Self(now + longest)) };
        let told = header.to_str().ok().and_then(parse).ok_or_else(|| {
            let text = String::from_utf8_lossy(header.as_bytes());
            format!(
                "grpc-timeout \"{text}\" is no time: give at most eight digits and one of H, M, S, m, u, n"
            )
        })?;
        Ok(Self(now + told.min(longest).saturating_sub(AHEAD)))
    }

    /// The moment itself.
    pub(crate) fn instant(self) -> Instant {
        self.0
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_over(self, now: Instant) -> bool {
        self.0 <= now
    }
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_caller_waits() {
        let now = Instant::now();
        let longest = Duration::from_secs(600);
        let check = |header: Option<&str>, want: Option<u64>| {
            let mut headers = HeaderMap::new();
            header.map(|text| headers.insert("grpc-timeout", text.parse().expect("a header")));
            let deadline = Deadline::of(&headers, now, longest);
            let left = deadline.as_ref().ok().map(|deadline| (deadline.0 - now).as_millis() as u64);
            assert_eq!(left, want, "{header:?}");
            if let Err(text) = deadline {
                assert!(text.starts_with("grpc-timeout \""), "{text}");
            }
        };
        //    header                milliseconds
        check(None, Some(600_000));
        check(Some("1S"), Some(997));
        check(Some("2M"), Some(119_997));
        check(Some("250m"), Some(247));
        check(Some("250000u"), Some(247));
        check(Some("10000000n"), Some(7));
        check(Some("2m"), Some(0)); // Over before anything could be done.
        check(Some("0S"), Some(0));
        check(Some("99999999H"), Some(599_997)); // Longer than anything may take.
        check(Some("1"), None);
        check(Some("S"), None);
        check(Some(""), None);
        check(Some("1s"), None);
        check(Some("-1S"), None);
        check(Some("1.5S"), None);
        check(Some("123456789S"), None);
        check(Some("1 S"), None);
        check(Some("1ü"), None);
    }
}
