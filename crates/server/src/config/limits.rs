//! `[limits]`: what one caller, and all of them together, may ask for. `docs/limits.md` tells what they hear.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use tagtrail_domain::limits;

use super::ConfigError;

/// What may be asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The largest request, in bytes.
    pub request_bytes: usize,
    /// The largest request to take over an image stream, which tells of all that its tags have pointed to.
    pub testimony_bytes: usize,
    /// All headers of one request, in bytes.
    pub header_bytes: u32,
    /// Most things in one page of an answer, whatever is asked for.
    pub page_items: usize,
    /// Most tags that one stream may get.
    pub tags_per_stream: usize,
    /// How many requests may be answered at the same time.
    pub concurrent_requests: usize,
    /// How many of them may wait for a registry.
    pub concurrent_imports: usize,
    /// How many writes may wait for the writer.
    pub waiting_writes: usize,
    /// How many may watch.
    pub watches: usize,
    /// How many backups may be taken at once.
    pub backups: usize,
    /// How often one client may ask. `None`: as often as it likes.
    pub client_rate: Option<Rate>,
    /// How long a request may take that does not say so itself, or says more.
    pub request_timeout: Duration,
    /// How long an answer may lie ready for a watcher that does not take it.
    pub watcher_patience: Duration,
    /// How many connections there may be.
    pub connections: usize,
    /// How many requests may be under way on one connection.
    pub streams_per_connection: u32,
    /// How many requests that were taken back may lie on one connection before it is closed (CVE-2023-44487).
    pub pending_resets: usize,
    /// How many requests the server may have to break off for errors of the client before it closes the connection
    /// (CVE-2025-8671).
    pub error_resets: usize,
    /// How often the other side of a silent connection is asked whether it is still there.
    pub keepalive_interval: Duration,
    /// How long it may take to say so.
    pub keepalive_timeout: Duration,
    /// How long a connection may be used. `None`: as long as its client likes.
    pub connection_age: Option<Duration>,
    /// How long what is under way on it may then take.
    pub connection_age_grace: Duration,
}

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// In the long run.
    pub per_second: f64,
    /// At once, after a time of silence.
    pub burst: u32,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsSection {
    request_bytes: Option<i64>,
    testimony_bytes: Option<i64>,
    header_bytes: Option<i64>,
    page_items: Option<i64>,
    tags_per_stream: Option<i64>,
    concurrent_requests: Option<i64>,
    concurrent_imports: Option<i64>,
    waiting_writes: Option<i64>,
    watches: Option<i64>,
    backups: Option<i64>,
    client_requests_per_second: Option<f64>,
    client_burst: Option<i64>,
    request_timeout: Option<String>,
    watcher_patience: Option<String>,
    connections: Option<i64>,
    streams_per_connection: Option<i64>,
    pending_resets: Option<i64>,
    error_resets: Option<i64>,
    keepalive_interval: Option<String>,
    keepalive_timeout: Option<String>,
    connection_age: Option<String>,
    connection_age_grace: Option<String>,
}

/// The keys that are text whatever they look like, so that a bare number is told of like any other text.
pub(super) const TEXTS: [&str; 6] = [
    "request_timeout",
    "watcher_patience",
    "keepalive_interval",
    "keepalive_timeout",
    "connection_age",
    "connection_age_grace",
];

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

impl Default for Limits {
    fn default() -> Self {
        LimitsSection::default().check().expect("the defaults are within their ranges")
    }
}

impl LimitsSection {
    /// Each limit within its range, and those that depend on each other in order.
    pub(super) fn check(self) -> Result<Limits, ConfigError> {
        let concurrent_requests = count("concurrent_requests", self.concurrent_requests, 1_024, 1..=65_536)?;
        // Callers who wait for registries leave room for those who do not.
        let usual = (concurrent_requests / 4).max(1);
        let concurrent_imports = count("concurrent_imports", self.concurrent_imports, usual, 1..=65_536)?;
        if concurrent_imports > concurrent_requests {
            return fail(
                "concurrent_imports",
                format!(
                    "{concurrent_imports} is more than limits.concurrent_requests, which is {concurrent_requests}"
                ),
            );
        }
        let limits = Limits {
            request_bytes: count("request_bytes", self.request_bytes, MIB, 64 * KIB..=16 * MIB)?,
            testimony_bytes: count("testimony_bytes", self.testimony_bytes, 16 * MIB, MIB..=16 * MIB)?,
            header_bytes: small("header_bytes", self.header_bytes, 16 << 10, 4 << 10..=1 << 20)?,
            page_items: count("page_items", self.page_items, 1_000, 1..=1_000)?,
            // What an audit permits is a constant of the log; a server may only be stricter.
            tags_per_stream: count(
                "tags_per_stream",
                self.tags_per_stream,
                limits::TAGS_PER_STREAM,
                1..=limits::TAGS_PER_STREAM,
            )?,
            concurrent_requests,
            concurrent_imports,
            waiting_writes: count("waiting_writes", self.waiting_writes, 4_096, 1..=65_536)?,
            watches: count("watches", self.watches, 4_096, 1..=1_000_000)?,
            backups: count("backups", self.backups, 2, 1..=16)?,
            client_rate: rate(self.client_requests_per_second, self.client_burst)?,
            request_timeout: time("request_timeout", self.request_timeout, 15 * MINUTE, SECOND..=DAY)?,
            watcher_patience: time("watcher_patience", self.watcher_patience, 30 * SECOND, SECOND..=HOUR)?,
            connections: count("connections", self.connections, 512, 1..=65_536)?,
            streams_per_connection: small(
                "streams_per_connection",
                self.streams_per_connection,
                512,
                1..=65_536,
            )?,
            pending_resets: count("pending_resets", self.pending_resets, 20, 1..=1_000)?,
            error_resets: count("error_resets", self.error_resets, 1_024, 1..=100_000)?,
            keepalive_interval: time(
                "keepalive_interval",
                self.keepalive_interval,
                30 * SECOND,
                SECOND..=HOUR,
            )?,
            keepalive_timeout: time("keepalive_timeout", self.keepalive_timeout, 20 * SECOND, SECOND..=HOUR)?,
            connection_age: match self.connection_age.as_deref() {
                None | Some("0s") => None,
                text => {
                    let range = SECOND..=30 * DAY;
                    Some(time("connection_age", text.map(str::to_owned), DAY, range)?)
                }
            },
            connection_age_grace: time(
                "connection_age_grace",
                self.connection_age_grace,
                MINUTE,
                SECOND..=DAY,
            )?,
        };
        Ok(limits)
    }
}

fn count(
    key: &str,
    value: Option<i64>,
    usual: usize,
    range: RangeInclusive<usize>,
) -> Result<usize, ConfigError> {
    let Some(value) = value else { return Ok(usual) };
    match usize::try_from(value) {
        Ok(value) if range.contains(&value) => Ok(value),
        _ => fail(key, format!("{value} is not between {} and {}", range.start(), range.end())),
    }
}

fn small(key: &str, value: Option<i64>, usual: u32, range: RangeInclusive<u32>) -> Result<u32, ConfigError> {
    let wide = *range.start() as usize..=*range.end() as usize;
    let value = count(key, value, usual as usize, wide)?;
    Ok(u32::try_from(value).expect("the range is one of small numbers"))
}

fn time(
    key: &str,
    text: Option<String>,
    usual: Duration,
    range: RangeInclusive<Duration>,
) -> Result<Duration, ConfigError> {
    let Some(text) = text else { return Ok(usual) };
    match humantime::parse_duration(&text) {
        Ok(time) if range.contains(&time) => Ok(time),
        _ => {
            let [least, most] = [range.start(), range.end()].map(|bound| humantime::format_duration(*bound));
            let least = if key == "connection_age" { format!("0s, or {least}") } else { least.to_string() };
            fail(key, format!("\"{text}\" is no such time: give {least} to {most}"))
        }
    }
}

/// `0`, the default, is no limit: whoever comes through a proxy shares its address with everybody else there.
fn rate(per_second: Option<f64>, burst: Option<i64>) -> Result<Option<Rate>, ConfigError> {
    let per_second = per_second.unwrap_or(0.0);
    if per_second == 0.0 {
        return match burst {
            None => Ok(None),
            Some(_) => fail("client_burst", "it needs limits.client_requests_per_second".into()),
        };
    }
    if !(0.01..=1e6).contains(&per_second) {
        let reason = format!("{per_second} is not between 0.01 and 1000000, nor 0");
        return fail("client_requests_per_second", reason);
    }
    // What a second brings, if nothing else is said.
    let usual = per_second.ceil() as u32;
    Ok(Some(Rate { per_second, burst: small("client_burst", burst, usual, 1..=1_000_000)? }))
}

fn fail<T>(key: &str, reason: String) -> Result<T, ConfigError> {
    Err(ConfigError::Content { place: format!("limits.{key}"), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(toml: &str) -> Result<Limits, String> {
        let section: LimitsSection = toml::from_str(toml).map_err(|error| error.to_string())?;
        section.check().map_err(|error| error.to_string())
    }

    #[test]
    fn each_limit_has_its_range() {
        let check = |toml: &str, want: &str| {
            assert_eq!(limits(toml).expect_err(toml), format!("limits.{want}"));
        };
        let numbers = [
            ("request_bytes", 65_535, 16_777_217, "65536 and 16777216"),
            ("testimony_bytes", 1_048_575, 16_777_217, "1048576 and 16777216"),
            ("header_bytes", 4_095, 1_048_577, "4096 and 1048576"),
            ("page_items", 0, 1_001, "1 and 1000"),
            ("tags_per_stream", 0, 10_001, "1 and 10000"),
            ("concurrent_requests", 0, 65_537, "1 and 65536"),
            ("concurrent_imports", -1, 65_537, "1 and 65536"),
            ("waiting_writes", 0, 65_537, "1 and 65536"),
            ("watches", 0, 1_000_001, "1 and 1000000"),
            ("backups", 0, 17, "1 and 16"),
            ("connections", 0, 65_537, "1 and 65536"),
            ("streams_per_connection", 0, i64::MAX, "1 and 65536"),
            ("pending_resets", 0, 1_001, "1 and 1000"),
            ("error_resets", 0, 100_001, "1 and 100000"),
        ];
        for (key, least, most, range) in numbers {
            for wrong in [least, most] {
                let want = format!("{key} cannot be used: {wrong} is not between {range}");
                check(&format!("{key} = {wrong}"), &want);
            }
            // One inside of either bound is fine.
            let within =
                if key == "concurrent_imports" { vec![1] } else { vec![least + 1, most.min(1 << 30) - 1] };
            for value in within.into_iter().filter(|value| *value < 1 << 29) {
                limits(&format!("{key} = {value}"))
                    .unwrap_or_else(|error| panic!("{key} = {value}: {error}"));
            }
        }
        let times = [
            ("request_timeout", "1s to 1day"),
            ("watcher_patience", "1s to 1h"),
            ("keepalive_interval", "1s to 1h"),
            ("keepalive_timeout", "1s to 1h"),
            ("connection_age", "0s, or 1s to 30days"),
            ("connection_age_grace", "1s to 1day"),
        ];
        for (key, range) in times {
            for wrong in ["soon", "999ms", "31d", "5", ""] {
                let want = format!("{key} cannot be used: \"{wrong}\" is no such time: give {range}");
                check(&format!("{key} = \"{wrong}\""), &want);
            }
            limits(&format!("{key} = \"11s\"")).expect(key);
        }
    }

    /// The example names every limit with its default, and the page tells what each is for.
    #[test]
    fn every_limit_is_documented() {
        let unknown = limits("nonsense = 1").expect_err("there is no such limit");
        let keys: Vec<&str> = unknown.split('`').skip(3).step_by(2).collect();
        assert!(keys.len() > 20 && keys.contains(&"connection_age_grace"), "{unknown}");
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let read = |path: &str| std::fs::read_to_string(format!("{root}/{path}")).expect(path);
        let (example, page) = (read("deploy/tagtrail.toml"), read("docs/limits.md"));
        for key in keys {
            assert!(
                example.contains(&format!("\n{key} = ")) || key == "client_burst",
                "no {key} in the example"
            );
            assert!(page.contains(&format!("| `{key}` |")), "no {key} in docs/limits.md");
        }
        for limit in crate::metrics::LIMITS {
            let named = [format!("| `{limit}` |"), format!("limit=\"{limit}\"")];
            assert!(named.iter().any(|name| page.contains(name)), "no metric {limit} in docs/limits.md");
        }
        let example: toml::Table = example.parse().expect("TOML");
        let section: LimitsSection = example["limits"].clone().try_into().expect("a section");
        assert_eq!(section.check().expect("good"), Limits::default());
    }

    #[test]
    fn limits_that_belong_together() {
        let check = |toml: &str, want: &str| {
            let wrong = limits(toml).expect_err(toml);
            assert!(wrong.contains(want), "{wrong}");
        };
        check(
            "concurrent_requests = 8\nconcurrent_imports = 9",
            "limits.concurrent_imports cannot be used: 9 is more than limits.concurrent_requests, which is 8",
        );
        check("client_burst = 9", "client_burst cannot be used: it needs limits.client_requests_per_second");
        check("client_requests_per_second = -1.0", "-1 is not between 0.01 and 1000000, nor 0");
        check("client_requests_per_second = nan", "NaN is not between");
        check("client_requests_per_second = 5\nclient_burst = 0", "0 is not between 1 and 1000000");
        check("reqest_bytes = 5", "unknown field `reqest_bytes`");

        assert_eq!(limits("concurrent_requests = 8").expect("good").concurrent_imports, 2);
        assert_eq!(limits("concurrent_requests = 1").expect("good").concurrent_imports, 1);
        let rate = |toml| limits(toml).expect("good").client_rate;
        assert_eq!(rate(""), None);
        assert_eq!(rate("client_requests_per_second = 0"), None);
        assert_eq!(rate("client_requests_per_second = 2.5"), Some(Rate { per_second: 2.5, burst: 3 }));
        let told = "client_requests_per_second = 2\nclient_burst = 50";
        assert_eq!(rate(told), Some(Rate { per_second: 2.0, burst: 50 }));
        assert_eq!(limits("connection_age = '0s'").expect("good").connection_age, None);
        assert_eq!(limits("connection_age = '1h'").expect("good").connection_age, Some(HOUR));
    }
}
