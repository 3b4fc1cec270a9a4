//! The importer against registries: a real one, and one that does everything wrong.

mod fake;
mod faults;
mod memory;
mod probes;
mod real_registry;
mod secrets;

use tagtrail_domain::{ImageReference, Timestamp};
use tagtrail_importer::{ImageRequest, ImportMode, PullSecrets};

/// The time of every import here.
const NOW: Timestamp = Timestamp::new(1_700_000_000, 0);

/// A wish for one image for linux/amd64.
fn request(reference: &str, mode: ImportMode) -> ImageRequest {
    ImageRequest {
        reference: ImageReference::parse(reference).expect(reference),
        insecure: false,
        mode,
        prefer_os: Some("linux".into()),
        prefer_arch: Some("amd64".into()),
        secrets: PullSecrets::default(),
    }
}
