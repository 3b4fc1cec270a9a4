//! Everything a registry can send has an end. These are the ends, with their reasons.

use std::time::Duration;

/// Largest manifest, in bytes: what registries themselves must accept (distribution specification, "Pushing
/// Manifests").
pub(crate) const MANIFEST_BYTES: usize = 4 << 20;
/// Largest image configuration, in bytes. Real ones are some kilobytes.
pub(crate) const CONFIG_BYTES: usize = 8 << 20;
/// Most bytes of manifests and configurations of one image, all platforms of a kept index included.
pub(crate) const IMAGE_BYTES: usize = 16 << 20;
/// Largest page of a tag list, in bytes.
pub(crate) const TAG_PAGE_BYTES: usize = 8 << 20;
/// Most pages of a tag list.
pub(crate) const TAG_PAGES: usize = 1_000;
/// Most tags of a repository.
pub(crate) const TAGS: usize = 100_000;
/// Largest answer of a token service, in bytes.
pub(crate) const TOKEN_BYTES: usize = 64 << 10;
/// As much of an error's body is read, in bytes. The rest is left.
pub(crate) const ERROR_BODY_BYTES: usize = 64 << 10;
/// Most entries of an image index. An image is recorded in one event, and this many fit.
pub(crate) const INDEX_ENTRIES: usize = 200;
/// Most layers of an image, for the same reason. Docker itself stops at 127.
pub(crate) const LAYERS: usize = 250;
/// Longest media type, in bytes (RFC 6838 §4.2: 127 on either side of the slash).
pub(crate) const MEDIA_TYPE_BYTES: usize = 255;
/// Longest name of an operating system, architecture or variant, in bytes.
pub(crate) const PLATFORM_BYTES: usize = 64;
/// Most hops of one request.
pub(crate) const REDIRECTS: usize = 5;
/// Further tries after the first (spec §3.3).
pub(crate) const RETRIES: u32 = 2;
/// Longest `Retry-After` that is waited out; somebody may be waiting for us.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(10);
/// Longest `Retry-After` that is believed.
pub(crate) const LONGEST_HOLD: Duration = Duration::from_secs(3600);
/// How long a registry that says 429 and not for how long is left alone.
pub(crate) const USUAL_HOLD: Duration = Duration::from_secs(60);
/// Shortest time after which background work comes back to a registry that says 429.
pub(crate) const SHORTEST_LATER: Duration = Duration::from_secs(1);
/// Deepest debt of a host's budget: background work never waits longer for people.
pub(crate) const DEEPEST_DEBT: Duration = Duration::from_secs(10);
/// Most hosts whose budget is remembered.
pub(crate) const PACED_HOSTS: usize = 10_000;
/// Most idle connections that are kept to one host: as many as ask it at the same time, and some.
pub(crate) const IDLE_CONNECTIONS: usize = 16;
/// What a registry said to a ping holds this long.
pub(crate) const PING_TTL: Duration = Duration::from_secs(60);
/// Most pings and most tokens that are remembered.
pub(crate) const REMEMBERED: usize = 1_000;
/// Most credentials that are tried for one repository, of a namespace's and of the server's own each.
pub(crate) const CREDENTIALS: usize = 8;
/// Largest `config.json`, in bytes.
pub(crate) const CREDENTIALS_FILE_BYTES: u64 = 1 << 20;
/// Largest Docker configuration that a namespace may hand over, in bytes: some hundred registries.
pub(crate) const PULL_SECRET_BYTES: usize = 64 << 10;
/// How long a credential helper may think.
pub(crate) const HELPER_TIME: Duration = Duration::from_secs(10);
