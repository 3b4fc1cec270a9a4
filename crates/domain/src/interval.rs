//! How often a tag is looked at, where it says so itself.

use std::fmt;
use std::time::Duration;

use crate::limits::INTERVAL_SECONDS;

/// How often a scheduled tag is looked at: whole seconds, from one second to thirty days. Written `30s`, `5m`, `1h30m`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Interval(u32);

/// Why a text or a number is no interval.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "\"{0}\" is no interval: give 1s to 30d in days, hours, minutes and seconds, such as 30s, 5m or 1h30m"
)]
pub struct IntervalError(String);

/// The units, largest first, each with its seconds.
const UNITS: [(char, u32); 4] = [('d', 24 * 60 * 60), ('h', 60 * 60), ('m', 60), ('s', 1)];

impl Interval {
    /// The one door in for text: numbers with units, each unit at most once and the largest first.
    ///
    /// # Errors
    /// [`IntervalError`] for anything else, and for what is out of range.
    pub fn parse(text: &str) -> Result<Self, IntervalError> {
        let seconds = seconds(text).ok_or_else(|| IntervalError(text.to_owned()))?;
        Self::from_seconds(seconds).map_err(|_| IntervalError(text.to_owned()))
    }

    /// The one door in for numbers.
    ///
    /// # Errors
    /// [`IntervalError`] for less than a second (0) and for more than thirty days.
    pub fn from_seconds(seconds: u32) -> Result<Self, IntervalError> {
        if INTERVAL_SECONDS.contains(&seconds) {
            Ok(Self(seconds))
        } else {
            Err(IntervalError(format!("{seconds}s")))
        }
    }

    /// Whole seconds.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        self.0
    }

    /// The same as a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

fn seconds(text: &str) -> Option<u32> {
    let mut units = UNITS.iter();
    let mut total: u32 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let unit = after.chars().next()?;
        // What was passed over cannot come any more.
        let (_, worth) = units.find(|(letter, _)| *letter == unit)?;
        total = total.checked_add(number.parse::<u32>().ok()?.checked_mul(*worth)?)?;
        rest = &after[unit.len_utf8()..];
    }
    Some(total)
}

impl fmt::Display for Interval {
    /// In the largest units that fit: `90s` is `1m30s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        for (letter, worth) in UNITS {
            if rest >= worth {
                write!(f, "{}{letter}", rest / worth)?;
                rest %= worth;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_and_written() {
        let check = |text: &str, seconds: u32, written: &str| {
            let interval = Interval::parse(text).expect(text);
            assert_eq!((interval.seconds(), interval.to_string().as_str()), (seconds, written), "{text}");
            assert_eq!(Interval::parse(written), Ok(interval));
            assert_eq!(Interval::from_seconds(seconds), Ok(interval));
            assert_eq!(interval.duration().as_secs(), u64::from(seconds));
        };
        check("1s", 1, "1s");
        check("5m", 300, "5m");
        check("90s", 90, "1m30s");
        check("1h30m", 5_400, "1h30m");
        check("1h0m5s", 3_605, "1h5s");
        check("007s", 7, "7s");
        check("36h", 129_600, "1d12h");
        check("1d2h3m4s", 93_784, "1d2h3m4s");
        check("30d", 2_592_000, "30d");
        check("720h", 2_592_000, "30d");
    }

    #[test]
    fn what_is_no_interval_is_refused_with_the_range() {
        for text in [
            "",
            "0s",
            "0",
            "5",
            "5 m",
            "m",
            "-5m",
            "+5m",
            "1.5h",
            "5M",
            "5min",
            "30m1h",
            "1m1m",
            "1s1",
            "1ü",
            "30d1s",
            "31d",
            "4294967296s",
            "99999999999999999999d",
            "५m",
        ] {
            let want = format!(
                "\"{text}\" is no interval: give 1s to 30d in days, hours, minutes and seconds, such as 30s, 5m or 1h30m"
            );
            assert_eq!(Interval::parse(text).map_err(|error| error.to_string()), Err(want));
        }
        assert!(Interval::from_seconds(0).is_err());
        assert!(Interval::from_seconds(2_592_001).is_err());
        assert!(Interval::from_seconds(u32::MAX).is_err());
    }
}
