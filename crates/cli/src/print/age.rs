//! How long ago something was, in the words of `oc` (spec §4.2), by this machine's clock.

use chrono::{DateTime, SecondsFormat, Utc};
use prost_types::Timestamp as Moment;

/// The moment ages count from.
#[derive(Clone, Copy)]
pub(crate) struct Now(pub(crate) DateTime<Utc>);

impl Now {
    /// By this machine's clock.
    pub(crate) fn by_the_clock() -> Self {
        Self(Utc::now())
    }

    /// `5 seconds ago`. What lies in the future, by clocks that differ, is less than a second ago. No moment at
    /// all is as long ago as Go's clock reaches.
    pub(crate) fn ago(self, moment: Option<&Moment>) -> String {
        let Some(moment) = moment else { return format!("{} ago", words(LONGEST_SECONDS)) };
        // Whole seconds, as they are printed everywhere else.
        let since = self.0.timestamp_millis() - moment.seconds.saturating_mul(1000);
        format!("{} ago", words((since / 1000).clamp(0, LONGEST_SECONDS)))
    }

    /// `3m20s`: the age that kubectl prints where an object has a column for it.
    pub(crate) fn age(self, moment: Option<&Moment>) -> String {
        let Some(moment) = moment else { return "<unknown>".into() };
        match self.0.timestamp() - moment.seconds {
            ..-1 => "<invalid>".into(),
            since => short(since.max(0)),
        }
    }
}

/// The moment in RFC 3339, UTC, to the second: `2026-11-23T12:46:07Z`.
pub(crate) fn rfc3339(moment: &Moment) -> String {
    let time = DateTime::<Utc>::from_timestamp(moment.seconds, 0).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The moment in RFC 3339, UTC, as exactly as it is known: `2026-11-23T12:46:07.250Z`.
pub(crate) fn exact(moment: &Moment) -> String {
    let nanos = u32::try_from(moment.nanos).unwrap_or_default();
    let time = DateTime::<Utc>::from_timestamp(moment.seconds, nanos).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// The longest Go duration, 2^63 nanoseconds, in seconds.
const LONGEST_SECONDS: i64 = i64::MAX / 1_000_000_000;

fn words(seconds: i64) -> String {
    let minutes = seconds / 60;
    // Half an hour and more counts as one, as `int(hours + 0.5)` does.
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// Two numbers where one would be too rough (`HumanDuration` of Kubernetes' `apimachinery`).
fn short(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: i64, unit: &str, small: i64, of: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{of}"),
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 24 * 8 => two(days, "d", hours % 24, "h"),
        () if days < 365 * 2 => format!("{days}d"),
        () if days < 365 * 8 => two(days / 365, "y", days % 365, "d"),
        () => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::rows;

    #[test]
    fn ages_read_as_they_do_in_oc() {
        // `2h 30m`, as the table has it.
        let seconds = |text: &str| -> i64 {
            let part = |part: &str| {
                let (number, unit) = part.split_at(part.len() - 1);
                let unit = match unit {
                    "d" => 24 * 3600,
                    "h" => 3600,
                    "m" => 60,
                    _ => 1,
                };
                unit * number.parse::<i64>().expect("a number before the unit")
            };
            text.split(' ').map(part).sum()
        };
        let checked = rows::check(include_str!("tables/ages.txt"), |age| words(seconds(age)));
        assert!(checked >= 100, "only {checked} rows");
        assert_eq!(words(LONGEST_SECONDS), "292 years");
    }

    #[test]
    fn short_ages_read_as_they_do_in_kubectl() {
        let now = Now(DateTime::<Utc>::from_timestamp(1_000_000_000, 0).expect("valid"));
        let check = |seconds: i64, want: &str| {
            let moment = Moment { seconds: 1_000_000_000 - seconds, nanos: 0 };
            assert_eq!(now.age(Some(&moment)), want, "{seconds}");
        };
        let (minute, hour, day) = (60, 3600, 86_400);
        check(-2, "<invalid>");
        check(-1, "0s");
        check(0, "0s");
        check(119, "119s");
        check(120, "2m");
        check(200, "3m20s");
        check(10 * minute - 1, "9m59s");
        check(10 * minute + 59, "10m");
        check(3 * hour - 1, "179m");
        check(3 * hour, "3h");
        check(7 * hour + 5 * minute, "7h5m");
        check(8 * hour + 5 * minute, "8h");
        check(2 * day - 1, "47h");
        check(2 * day, "2d");
        check(3 * day + 4 * hour, "3d4h");
        check(8 * day + 4 * hour, "8d");
        check(730 * day - 1, "729d");
        check(731 * day, "2y1d");
        check(8 * 365 * day + 9 * day, "8y");
        assert_eq!(now.age(None), "<unknown>");
    }

    #[test]
    fn an_age_is_never_negative() {
        let now = Now(DateTime::<Utc>::from_timestamp(1000, 999_000_000).expect("valid"));
        let check = |seconds, want: &str| assert_eq!(now.ago(Some(&Moment { seconds, nanos: 0 })), want);
        check(2000, "Less than a second ago");
        check(1000, "Less than a second ago");
        check(999, "1 second ago");
        assert_eq!(now.ago(None), "292 years ago");
    }
}
