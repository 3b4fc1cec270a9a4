//! Moments as people write them: `--at 'yesterday 14:03'`, `--since '2h ago'`, `--until 2026-12-01`.
//!
//! | written                                   | means                                                              |
//! |-------------------------------------------|--------------------------------------------------------------------|
//! | `1234`                                    | right after the event of that sequence; `0`: before the first one  |
//! | `now`                                     | as it is                                                           |
//! | `2026-11-27T14:03:05Z`                    | that time (RFC 3339)                                               |
//! | `2026-11-27 14:03[:05]`, `2026-11-27`     | that time; a day alone means its beginning                         |
//! | `today`, `yesterday`, with or without time| the same on that day                                               |
//! | `tuesday 14:03`, `last tuesday 14:03`     | the last one that lies in the past                                 |
//! | `14:03`                                   | today                                                              |
//! | `2h ago`, `1h 30m ago`, `90 minutes ago`  | counted back from now                                              |
//! | `tomorrow 9:00`, `in 2h`, `friday 17:00`  | only where a time that is yet to come is wanted                    |
//!
//! A time without a fraction of a second, as tables print it, means the end of that second, so that one that is copied from
//! `history` shows that event; as the beginning of a stretch, `--since`, it means the beginning of it. It never means later
//! than now. A day alone, and so long ago, are exact.
//!
//! A time of day may be followed by its zone: `UTC`, `Z`, or `+02:00`. Otherwise it is meant in the zone of this machine,
//! which `TZ` names for one command. Of an hour that comes twice when the clocks go back, the first is meant; an hour that
//! is left out when they go forward is refused.

use std::time::Duration;

use chrono::{
    DateTime, Datelike as _, Days, FixedOffset, Local, MappedLocalTime, NaiveDate, NaiveTime, SecondsFormat,
    TimeZone, Timelike as _, Utc, Weekday,
};
use prost_types::Timestamp;
use tagtrail_api::v1;

/// The forms of a moment, for the help of every command that takes one.
pub(crate) const MOMENTS: &str = "\
A MOMENT is a sequence, which means the end of its command (0: before everything); a time such as 2026-11-27T14:03:05Z (RFC \
3339) or '2026-11-27 14:03 +01:00'; today, yesterday or a weekday, with or without a time of day, such as 'yesterday 14:03'; \
a time of day alone, which is today's; how long ago, such as '2h ago'; or now. A zone is UTC, Z or an offset such as +01:00; \
without one, that of this machine is meant, which TZ names for one command. A date alone is its midnight. A time without a \
fraction of a second means the end of that second, so that one that is copied from a table shows what happened then; only \
for --since it means the beginning.";

/// A moment of the past.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum When {
    /// As it is.
    Now,
    /// Right after the event of this sequence; 0: before the first one.
    Sequence(u64),
    /// At this time.
    Time(DateTime<Utc>),
}

/// Why words are no moment. One sentence.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MomentError {
    /// Nothing that is known.
    #[error(
        "write a sequence such as 1234, a time such as 2026-11-27T14:03:05Z, '2026-11-27 14:03', 'yesterday 14:03 UTC' or 'last tuesday 14:03', how long ago such as '2h ago', or now"
    )]
    Past,
    /// The same, where a time to come is wanted.
    #[error(
        "write a time such as 2026-12-01T09:00:00Z, '2026-12-01 9:00', 'tomorrow 9:00 UTC' or 'friday 17:00', or how long from now such as 'in 2h'"
    )]
    Future,
    /// How long, and not that it is ago.
    #[error("write '{0} ago' for the moment that is so long past")]
    Ago(String),
    /// A number that is no sequence.
    #[error("there is no such sequence: they are whole numbers from 0 to 18446744073709551615")]
    Sequence,
    /// A zone that is not known.
    #[error(
        "the zone \"{0}\" is not known here: write UTC, Z or an offset such as +02:00, or name a zone for the whole command, such as TZ=Europe/Berlin"
    )]
    Zone(String),
    /// An hour that was left out.
    #[error("{0} was left out there, when the clocks went forward: give a time before or after it")]
    LeftOut(String),
    /// It is yet to come.
    #[error("{0} is yet to come: give a moment of the past")]
    ToCome(String),
    /// It is over.
    #[error("{0} is over: give a time that is yet to come")]
    Over(String),
}

impl std::fmt::Display for When {
    /// As it was understood: `now`, `sequence 7`, `2026-11-27T14:03:05Z`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Now => f.write_str("now"),
            Self::Sequence(sequence) => write!(f, "sequence {sequence}"),
            Self::Time(time) => f.write_str(&told(*time)),
        }
    }
}

impl When {
    /// As it goes to the server.
    pub(crate) fn to_wire(self) -> Option<v1::Moment> {
        let when = match self {
            Self::Now => return None,
            Self::Sequence(sequence) => v1::moment::When::Sequence(sequence),
            Self::Time(time) => v1::moment::When::Time(timestamp(time)),
        };
        Some(v1::Moment { when: Some(when) })
    }
}

/// Reads a moment of the past, by the clock and the zone of this machine. Of a whole second, its end is meant.
///
/// # Errors
/// [`MomentError`].
pub(crate) fn past(text: &str) -> Result<When, MomentError> {
    past_at(text, Utc::now(), &Local, Second::End)
}

/// Reads a moment of the past after which something is looked for. Of a whole second, its beginning is meant.
///
/// # Errors
/// [`MomentError`].
pub(crate) fn since(text: &str) -> Result<When, MomentError> {
    past_at(text, Utc::now(), &Local, Second::Beginning)
}

/// Reads a time that is yet to come, by the clock and the zone of this machine.
///
/// # Errors
/// [`MomentError`].
pub(crate) fn future(text: &str) -> Result<DateTime<Utc>, MomentError> {
    future_at(text, Utc::now(), &Local)
}

/// A time as it goes to the server.
pub(crate) fn timestamp(time: DateTime<Utc>) -> Timestamp {
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or_default();
    Timestamp { seconds: time.timestamp(), nanos }
}

/// A time as the server told it. `None`: no clock shows it.
pub(crate) fn of_timestamp(time: &Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).ok()?)
}

/// Which end of a whole second is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Second {
    Beginning,
    End,
}

fn past_at<Z: TimeZone>(
    text: &str,
    now: DateTime<Utc>,
    zone: &Z,
    second: Second,
) -> Result<When, MomentError> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("now") {
        return Ok(When::Now);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(When::Sequence).map_err(|_| MomentError::Sequence);
    }
    let time = match duration_before(text, "ago") {
        Some(ago) => now.checked_sub_signed(ago.ok_or(MomentError::Past)?).ok_or(MomentError::Past)?,
        None if duration(text).is_some() => return Err(MomentError::Ago(text.to_owned())),
        None => Words::read(text).ok_or(MomentError::Past)?.time(now, zone, Direction::Past)?,
    };
    if time > now {
        return Err(MomentError::ToCome(told(time)));
    }
    let time = on_the_wire(time).ok_or(MomentError::Past)?;
    Ok(When::Time(match second {
        Second::End if is_whole_second(text) => end_of_second(time).min(now),
        Second::Beginning | Second::End => time,
    }))
}

/// Whether a time of day is written, and no fraction of a second.
fn is_whole_second(text: &str) -> bool {
    text.contains(':') && !text.contains('.')
}

fn end_of_second(time: DateTime<Utc>) -> DateTime<Utc> {
    time.with_nanosecond(999_999_999).unwrap_or(time)
}

fn future_at<Z: TimeZone>(text: &str, now: DateTime<Utc>, zone: &Z) -> Result<DateTime<Utc>, MomentError> {
    let text = text.trim();
    let time = match text.split_once(char::is_whitespace) {
        Some((word, rest)) if word.eq_ignore_ascii_case("in") => {
            let span = duration(rest).ok_or(MomentError::Future)?;
            now.checked_add_signed(span).ok_or(MomentError::Future)?
        }
        _ => Words::read(text).ok_or(MomentError::Future)?.time(now, zone, Direction::Future)?,
    };
    if time <= now {
        return Err(MomentError::Over(told(time)));
    }
    on_the_wire(time).ok_or(MomentError::Future)
}

/// The time that lies so long after now.
///
/// # Errors
/// [`MomentError::Future`] for what no clock reaches.
pub(crate) fn from_now(span: Duration) -> Result<DateTime<Utc>, MomentError> {
    let span = chrono::Duration::from_std(span).map_err(|_| MomentError::Future)?;
    Utc::now().checked_add_signed(span).and_then(on_the_wire).ok_or(MomentError::Future)
}

/// A time as protobuf's `Timestamp` may hold it, and RFC 3339 write it: of the years 1 to 9999. chrono knows many more.
fn on_the_wire(time: DateTime<Utc>) -> Option<DateTime<Utc>> {
    (1..=9_999).contains(&time.year()).then_some(time)
}

fn told(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The duration before a last word; `Some(None)` where the word is there and no duration before it.
fn duration_before(text: &str, last: &str) -> Option<Option<chrono::Duration>> {
    let (rest, word) = text.rsplit_once(char::is_whitespace)?;
    word.eq_ignore_ascii_case(last).then(|| duration(rest))
}

fn duration(text: &str) -> Option<chrono::Duration> {
    chrono::Duration::from_std(humantime::parse_duration(text.trim()).ok()?).ok()
}

/// Where to look for a day that is named by its weekday.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Past,
    Future,
}

/// A time in words: a day, a time of it, a zone.
enum Words {
    /// With everything in it.
    Whole(DateTime<Utc>),
    /// In parts.
    Parts { day: Day, time: NaiveTime, zone: Zone },
}

#[derive(Clone, Copy)]
enum Day {
    On(NaiveDate),
    /// So many days after today.
    After(i64),
    Weekday(Weekday),
}

enum Zone {
    /// That of this machine.
    Here,
    Offset(FixedOffset),
    Unknown(String),
}

impl Words {
    fn read(text: &str) -> Option<Self> {
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Some(Self::Whole(time.with_timezone(&Utc)));
        }
        let mut words: Vec<&str> = text.split_whitespace().collect();
        // `2026-11-27T14:03` is two words.
        if let Some((date, time)) = words.first().and_then(|word| word.split_once(['t', 'T']))
            && date.starts_with(|c: char| c.is_ascii_digit())
        {
            words.splice(..1, [date, time]);
        }
        let mut words = words.into_iter().peekable();
        let first = *words.peek()?;
        let day = if let Some(day) = Day::read(first) {
            words.next();
            Some(day)
        } else if first.eq_ignore_ascii_case("last") {
            words.next();
            Some(Day::Weekday(words.next()?.parse().ok()?))
        } else {
            None
        };
        let mut zone = Zone::Here;
        let time = match words.next() {
            None => NaiveTime::MIN,
            Some(word) => {
                let end = word.find(['z', 'Z', '+', '-']).unwrap_or(word.len());
                let (time, rest) = word.split_at(end);
                if !rest.is_empty() {
                    zone = Zone::read(rest);
                }
                time_of_day(time)?
            }
        };
        if let (Some(word), Zone::Here) = (words.next(), &zone) {
            zone = Zone::read(word);
        }
        // Without a day there was a time: something stood there.
        let day = day.unwrap_or(Day::After(0));
        words.next().is_none().then_some(Self::Parts { day, time, zone })
    }

    fn time<Z: TimeZone>(
        self,
        now: DateTime<Utc>,
        here: &Z,
        direction: Direction,
    ) -> Result<DateTime<Utc>, MomentError> {
        match self {
            Self::Whole(time) => Ok(time),
            Self::Parts { day, time, zone: Zone::Here } => on(day, time, now, here, direction),
            Self::Parts { day, time, zone: Zone::Offset(offset) } => on(day, time, now, &offset, direction),
            Self::Parts { zone: Zone::Unknown(zone), .. } => Err(MomentError::Zone(zone)),
        }
    }
}

impl Day {
    fn read(word: &str) -> Option<Self> {
        match &*word.to_lowercase() {
            "today" => Some(Self::After(0)),
            "yesterday" => Some(Self::After(-1)),
            "tomorrow" => Some(Self::After(1)),
            _ => match NaiveDate::parse_from_str(word, "%Y-%m-%d") {
                Ok(date) => Some(Self::On(date)),
                Err(_) => word.parse().ok().map(Self::Weekday),
            },
        }
    }
}

impl Zone {
    fn read(word: &str) -> Self {
        let offset = match &*word.to_lowercase() {
            "utc" | "z" | "gmt" => FixedOffset::east_opt(0),
            _ => DateTime::parse_from_str(&format!("2000-01-01 00:00 {word}"), "%Y-%m-%d %H:%M %#z")
                .ok()
                .map(|time| *time.offset()),
        };
        offset.map_or_else(|| Self::Unknown(word.to_owned()), Self::Offset)
    }
}

fn time_of_day(word: &str) -> Option<NaiveTime> {
    let parse = |form| NaiveTime::parse_from_str(word, form).ok();
    parse("%H:%M").or_else(|| parse("%H:%M:%S%.f"))
}

fn on<Z: TimeZone>(
    day: Day,
    time: NaiveTime,
    now: DateTime<Utc>,
    zone: &Z,
    direction: Direction,
) -> Result<DateTime<Utc>, MomentError> {
    let today = now.with_timezone(zone).date_naive();
    let date = match day {
        Day::On(date) => Some(date),
        Day::After(days) => days_after(today, days),
        Day::Weekday(weekday) => {
            let behind = i64::from(today.weekday().days_since(weekday));
            let near = match direction {
                Direction::Past => days_after(today, -behind),
                Direction::Future => days_after(today, (7 - behind) % 7),
            };
            // The same weekday as today, and not yet or no longer.
            match (direction, near.map(|date| in_zone(date, time, zone)).transpose()?) {
                (Direction::Past, Some(then)) if then > now => days_after(today, -behind - 7),
                (Direction::Future, Some(then)) if then <= now => days_after(today, 7 - behind),
                _ => near,
            }
        }
    };
    in_zone(date.ok_or(MomentError::Past)?, time, zone)
}

fn days_after(date: NaiveDate, days: i64) -> Option<NaiveDate> {
    let span = Days::new(days.unsigned_abs());
    if days < 0 { date.checked_sub_days(span) } else { date.checked_add_days(span) }
}

fn in_zone<Z: TimeZone>(date: NaiveDate, time: NaiveTime, zone: &Z) -> Result<DateTime<Utc>, MomentError> {
    let local = date.and_time(time);
    match zone.from_local_datetime(&local) {
        MappedLocalTime::Single(then) => Ok(then.with_timezone(&Utc)),
        // The hour comes twice when the clocks go back. The first one is meant.
        MappedLocalTime::Ambiguous(earlier, _) => Ok(earlier.with_timezone(&Utc)),
        MappedLocalTime::None => Err(MomentError::LeftOut(local.format("%Y-%m-%d %H:%M").to_string())),
    }
}

#[cfg(test)]
mod tests {
    use chrono::{NaiveDateTime, Offset as _};

    use super::*;

    /// Two hours before UTC in summer, one in winter, as Berlin was in 2026.
    #[derive(Clone, Copy, Debug)]
    struct Berlin;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    impl TimeZone for Berlin {
        type Offset = FixedOffset;

        fn from_offset(_: &FixedOffset) -> Self {
            Self
        }

        fn offset_from_local_date(&self, date: &NaiveDate) -> MappedLocalTime<FixedOffset> {
            self.offset_from_local_datetime(&date.and_time(NaiveTime::MIN))
        }

        fn offset_from_local_datetime(&self, local: &NaiveDateTime) -> MappedLocalTime<FixedOffset> {
            let fits = |hours: i32| {
                let offset = FixedOffset::east_opt(hours * 3600).expect("an offset");
                (self.offset_from_utc_datetime(&(*local - offset)) == offset).then_some(offset)
            };
            match (fits(2), fits(1)) {
                (Some(summer), Some(winter)) => MappedLocalTime::Ambiguous(summer, winter),
                (Some(one), None) | (None, Some(one)) => MappedLocalTime::Single(one),
                (None, None) => MappedLocalTime::None,
            }
        }

        fn offset_from_utc_date(&self, date: &NaiveDate) -> FixedOffset {
            self.offset_from_utc_datetime(&date.and_time(NaiveTime::MIN))
        }

        fn offset_from_utc_datetime(&self, time: &NaiveDateTime) -> FixedOffset {
            let summer = utc("2026-03-29T01:00:00Z").naive_utc()..utc("2026-10-25T01:00:00Z").naive_utc();
            FixedOffset::east_opt(if summer.contains(time) { 7200 } else { 3600 }).expect("an offset").fix()
        }
    }

    /// A Friday, a quarter past three in Berlin.
    const NOW: &str = "2026-11-27T14:15:30Z";

    #[test]
    fn moments_of_the_past() {
        let check = |text: &str, want: &str| {
            let got = match past_at(text, utc(NOW), &Berlin, Second::Beginning) {
                Ok(When::Now) => "now".into(),
                Ok(When::Sequence(sequence)) => format!("#{sequence}"),
                Ok(When::Time(time)) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
                Err(error) => format!("refused: {error}"),
            };
            assert!(
                got == want || want.ends_with('…') && got.starts_with(want.trim_end_matches('…')),
                "{text}: {got}"
            );
        };
        check("0", "#0");
        check("1234", "#1234");
        check(" 1234 ", "#1234");
        check("99999999999999999999", "refused: there is no such sequence…");
        // Once taken, and refused by nobody: no time of the wire, and none that could be told.
        check("-0001-01-01", "refused: write a sequence…");
        check("0000-12-31T23:59:59Z", "refused: write a sequence…");
        check("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z");
        check("now", "now");
        check("Now", "now");

        check("2026-11-27T14:03:05Z", "2026-11-27T14:03:05Z");
        check("2026-11-27T14:03:05.25+02:00", "2026-11-27T12:03:05.250Z");
        check("2026-11-27T14:03", "2026-11-27T13:03:00Z");
        check("2026-11-27 14:03", "2026-11-27T13:03:00Z");
        check("2026-11-27 14:03:05", "2026-11-27T13:03:05Z");
        check("2026-11-27 14:03 UTC", "2026-11-27T14:03:00Z");
        check("2026-11-27 14:03Z", "2026-11-27T14:03:00Z");
        check("2026-11-27 14:03 Z", "2026-11-27T14:03:00Z");
        check(
            "2026-11-27 14:03 -05:00",
            "refused: 2026-11-27T19:03:00Z is yet to come: give a moment of the past",
        );
        check("2026-11-27 14:03+0200", "2026-11-27T12:03:00Z");
        check("2026-11-27 14:03 +02", "2026-11-27T12:03:00Z");
        check("2026-11-27", "2026-11-26T23:00:00Z");
        check("2026-07-01 12:00", "2026-07-01T10:00:00Z");

        check("today", "2026-11-26T23:00:00Z");
        check("today 9:05", "2026-11-27T08:05:00Z");
        check("15:15", "2026-11-27T14:15:00Z");
        check("15:16", "refused: 2026-11-27T14:16:00Z is yet to come…");
        check("yesterday", "2026-11-25T23:00:00Z");
        check("yesterday 14:03", "2026-11-26T13:03:00Z");
        check("Yesterday 14:03:07 utc", "2026-11-26T14:03:07Z");
        check("tomorrow", "refused: 2026-11-27T23:00:00Z is yet to come…");

        check("tuesday 14:03", "2026-11-24T13:03:00Z");
        check("last Tuesday 14:03 UTC", "2026-11-24T14:03:00Z");
        check("tue", "2026-11-23T23:00:00Z");
        check("friday 15:00", "2026-11-27T14:00:00Z");
        check("last friday 16:00", "2026-11-20T15:00:00Z");
        check("saturday", "2026-11-20T23:00:00Z");

        check("2h ago", "2026-11-27T12:15:30Z");
        check("1h 30m ago", "2026-11-27T12:45:30Z");
        check("90 minutes ago", "2026-11-27T12:45:30Z");
        check("3 days AGO", "2026-11-24T14:15:30Z");
        check("9999999999999 years ago", "refused: write a sequence…");

        // The clocks went forward on 29 March, from 2:00 to 3:00, and back on 25 October, from 3:00 to 2:00.
        check(
            "2026-03-29 02:30",
            "refused: 2026-03-29 02:30 was left out there, when the clocks went forward…",
        );
        check("2026-03-29 03:00", "2026-03-29T01:00:00Z");
        check("2026-10-25 02:30", "2026-10-25T00:30:00Z");
        check("2026-10-25 03:00", "2026-10-25T02:00:00Z");

        check("2h", "refused: write '2h ago' for the moment that is so long past");
        check("1h 30m", "refused: write '1h 30m ago'…");

        check("yesterday 14:03 CET", "refused: the zone \"CET\" is not known here…");
        check("14:03 Europe/Berlin", "refused: the zone \"Europe/Berlin\" is not known here…");
        for no_moment in [
            "",
            " ",
            "-1",
            "ago",
            "x ago",
            "in 2h",
            "last",
            "last week",
            "noon",
            "25:00",
            "14:3x",
            "2026-13-01",
            "2026-11-27 14",
            "27.11.2026",
            "today today",
            "14:03 UTC UTC",
            "1.5",
            "#12",
        ] {
            check(no_moment, "refused: write a sequence such as 1234, a time…");
        }
    }

    #[test]
    fn a_whole_second_means_its_end() {
        let now = utc("2026-11-27T14:15:30.250Z");
        let check = |text: &str, beginning: &str, end: &str| {
            for (second, want) in [(Second::Beginning, beginning), (Second::End, end)] {
                assert_eq!(past_at(text, now, &Berlin, second), Ok(When::Time(utc(want))), "{text}");
            }
        };
        check("2026-11-27T14:03:05Z", "2026-11-27T14:03:05Z", "2026-11-27T14:03:05.999999999Z");
        check("yesterday 14:03:05", "2026-11-26T13:03:05Z", "2026-11-26T13:03:05.999999999Z");
        check("14:03 UTC", "2026-11-27T14:03:00Z", "2026-11-27T14:03:00.999999999Z");
        // No second is over before now.
        check("2026-11-27T14:15:30Z", "2026-11-27T14:15:30Z", "2026-11-27T14:15:30.250Z");
        // With a fraction it is exact, and so is what is no time of day.
        for exact in ["2026-11-27T14:03:05.000Z", "2026-11-27T14:03:05.25Z"] {
            check(exact, exact, exact);
        }
        check("today", "2026-11-26T23:00:00Z", "2026-11-26T23:00:00Z");
        check("2026-11-27", "2026-11-26T23:00:00Z", "2026-11-26T23:00:00Z");
        check("2h ago", "2026-11-27T12:15:30.250Z", "2026-11-27T12:15:30.250Z");
    }

    #[test]
    fn times_to_come() {
        let check = |text: &str, want: &str| {
            let got = match future_at(text, utc(NOW), &Berlin) {
                Ok(time) => told(time),
                Err(error) => format!("refused: {error}"),
            };
            assert!(
                got == want || want.ends_with('…') && got.starts_with(want.trim_end_matches('…')),
                "{text}: {got}"
            );
        };
        check("in 2h", "2026-11-27T16:15:30Z");
        check("in 1h 30m", "2026-11-27T15:45:30Z");
        check("tomorrow", "2026-11-27T23:00:00Z");
        check("tomorrow 9:00", "2026-11-28T08:00:00Z");
        check("tomorrow 9:00 UTC", "2026-11-28T09:00:00Z");
        check("2026-12-01T09:00:00Z", "2026-12-01T09:00:00Z");
        check("2026-12-01", "2026-11-30T23:00:00Z");
        check("18:00", "2026-11-27T17:00:00Z");
        check("friday 17:00", "2026-11-27T16:00:00Z");
        check("friday 9:00", "2026-12-04T08:00:00Z");
        check("monday 9:00", "2026-11-30T08:00:00Z");
        check("2026-11-27 15:15", "refused: 2026-11-27T14:15:00Z is over: give a time that is yet to come");
        check("yesterday", "refused: 2026-11-25T23:00:00Z is over…");
        check("in 100000 years", "refused: write a time such as 2026-12-01T09:00:00Z…");
        for no_time in ["", "1234", "2h", "2h ago", "in", "in x", "never", "now"] {
            check(no_time, "refused: write a time such as 2026-12-01T09:00:00Z…");
        }
    }

    #[test]
    fn a_moment_is_told_as_it_was_understood() {
        for (when, want) in [
            (When::Now, "now"),
            (When::Sequence(7), "sequence 7"),
            (When::Time(utc("2026-11-27T14:03:05.999999999Z")), "2026-11-27T14:03:05Z"),
        ] {
            assert_eq!(when.to_string(), want);
        }
    }

    #[test]
    fn a_moment_goes_to_the_server_as_it_is() {
        assert_eq!(When::Now.to_wire(), None);
        let sequence = Some(v1::moment::When::Sequence(0));
        assert_eq!(When::Sequence(0).to_wire(), Some(v1::Moment { when: sequence }));
        let time = Timestamp { seconds: 0, nanos: 5_000_000 };
        let time = Some(v1::moment::When::Time(time));
        assert_eq!(When::Time(utc("1970-01-01T00:00:00.005Z")).to_wire(), Some(v1::Moment { when: time }));
    }
}
